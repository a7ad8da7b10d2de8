"""Every unit of the package, and onion create without any configuration, on a machine with nothing set up."""

import json
import re
from functools import partial

from tests.e2e.daemon import answers, wait_until
from tests.e2e.programs import PROJECT

from . import documents
from .credentials import prove as credentials
from .machine import MachineError
from .rights import proof as rights
from .site import CLONE, Site
from .world import REMOTE

_PORTS = {
    "onionmx-relay.socket": (10025, 10026),
    "onionmx-serve.socket": (10027, 10028, 10029, 10030),
    "onionmx-guard.socket": (10031,),
}
_LEFT = """\
ls -d /usr/lib/onionmx /usr/share/onionmx /etc/onionmx 2>/dev/null
find /etc/systemd -name 'onionmx*'"""
_SIGNED = f"""\
cd /etc/onionmx && printf '# serial: 5\\n{REMOTE}\\n' >domains
rm -f /root/key && ssh-keygen -q -t ed25519 -N '' -f /root/key && ssh-keygen -q -Y sign -f /root/key -n onionmx domains
printf 'lists@example.net %s\\n' "$(cut -d' ' -f1,2 /root/key.pub)" >signers
printf '[sync]\\ndomains = ["/etc/onionmx/domains"]\\n' >onionmx.toml
printf '[sync.signers]\\n"/etc/onionmx/domains" = "/etc/onionmx/signers"\\n' >>onionmx.toml
chmod 0644 domains domains.sig signers onionmx.toml"""
_SERVICES = tuple(f"onionmx-{name}.service" for name in ("relay", "serve", "sync", "watch", "guard", "echo", "publish"))
_DAEMONS = tuple(unit for unit in _SERVICES if not unit.endswith(("-sync.service", "-publish.service")))
EXPOSURE = 1.0
_TELL = "onionmx-map"
_EXPOSURE_OF_A_COMMAND = 3.0
_USER = "onionmx"
_STATUS = "/run/onionmx-relay/relay.sock"
_ASKERS = "onionmx-status"
_CONNECT = f"python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"{_STATUS}\")'"
_SOCKS = "0100007F:235A"  # 127.0.0.1:9050 (proc(5), /proc/net/tcp)


def prove(site: Site) -> None:
    """Start and stop them, look at what they do; the machine has no libnss-systemd."""
    machine = site.machine
    if "libnss" in machine.read("dpkg-query -W -f '${Status} ${Package}\\n' libnss-systemd | grep ^install"):
        raise MachineError("libnss-systemd is installed: users of DynamicUser= have names")
    # It looks at every file of the machine, so nobody else may write.
    machine.run(f"systemctl stop tor@default {site.mta.name}*")
    machine.run(f"python3 {CLONE}/package_life.py {CLONE}/dist/onionmx_built.deb", timeout=600)
    machine.run("systemctl start tor@default")
    machine.run(f"apt-get -qy install {CLONE}/dist/onionmx_built.deb")
    machine.run(f"rm -rf /etc/onionmx/* && echo {REMOTE} {site.world.onion} >/etc/onionmx/pins")
    site.tor_is_up()
    machine.run("onionmx onion create")
    shipped = machine.read("dpkg -L onionmx | sed -n 's,.*/systemd/system/\\(onionmx[^/]*\\)$,\\1,p'").split()
    if missing := {*_SERVICES, *_PORTS, "onionmx-sync.timer"} - set(shipped):
        raise MachineError(f"the package does not have {missing}")
    machine.run(
        "systemctl enable --now onionmx-relay.socket onionmx-serve.socket onionmx-guard.socket onionmx-sync.timer"
    )
    machine.run("systemctl enable --now onionmx-relay.service onionmx-watch.service")
    for unit, ports in _PORTS.items():
        for port in ports:
            wait_until(partial(answers, "127.0.0.1", port), f"{unit} at port {port}")
    machine.run("systemctl start onionmx-{serve,sync,guard,echo}.service")
    _all_well(site, shipped)
    _exposure(site)
    _isolation(site)
    _rights(site)
    _signed_list(site)
    _status(site)
    _journal_and_page(site)
    _watched(site)
    _guarded(site)
    _lists(site)
    credentials.prove(site)
    rights.prove(site)
    machine.reboot()
    site.tor_is_up()
    _all_well(site, shipped)
    machine.run("apt-get -qy purge onionmx")
    if left := machine.read(_LEFT):
        raise MachineError(f"left after purge:\n{left}")


def _all_well(site: Site, shipped: list[str]) -> None:
    for unit in shipped:
        state = site.machine.read(f"systemctl show -P ActiveState -P Result -P NRestarts {unit}").split()
        print(f"{unit}: {' '.join(state)}", flush=True)
        if "failed" in state or "success" not in state or (state[-1].isdigit() and state[-1] != "0"):
            raise MachineError(f"{unit}: {state}\n{site.machine.read(f'systemctl status --no-pager -n 40 {unit}')}")


def _watched(site: Site) -> None:
    """The watch reaches tor's control socket and cookie, reads the address of the service, and finds it reachable."""
    onion = site.machine.read("cat /var/lib/tor/onion-mx/hostname").strip()
    wait_until(
        lambda: f"{onion} reachable" in site.machine.read("journalctl -o cat -u onionmx-watch.service"),
        f"{onion} reachable in the log of onionmx-watch.service",
        timeout=400,  # it may have looked before the service was published
    )
    state = site.machine.read("stat -c '%U %G %a' /var/lib/onionmx-watch/watch").split()
    if state != ["debian-tor", _ASKERS, "640"]:
        raise MachineError(f"the state of the watch: {state}")


_LIST, _COPY = "/var/lib/onionmx/domains.txt", "/var/lib/onionmx/copy"
_COMMAND = f"""\
printf '[map]\\nexports = [{{path = "{_LIST}", under_onion = ".onion"}}]\\n' >/etc/onionmx/onionmx.toml
printf '[sync]\\nafter = ["/bin/cp", "{_LIST}", "{_COPY}"]\\n' >>/etc/onionmx/onionmx.toml
systemctl daemon-reload"""
_SYNC = "systemctl reset-failed onionmx-sync.service && systemctl start onionmx-sync.service"
"""systemd allows five starts in ten seconds."""
_TOLD = f'/bin/sh -c "cat {_LIST} >>/run/told; id -u >>/run/told"'
_NO_COMMAND = f"""\
systemctl disable --now {_TELL}.path
rm -r /etc/systemd/system/{_TELL}.service.d /etc/onionmx/onionmx.toml {_LIST} {_COPY} /run/told
sed -i /told.example/d /etc/onionmx/pins
systemctl daemon-reload && {_SYNC}"""
_HINT = "No command yet: systemctl edit onionmx-map.service"


def _lists(site: Site) -> None:
    """The path unit has the command of root run when sync has changed the map; the list is the new one by then."""
    machine = site.machine
    if machine.read(f"systemctl show -P UnitFileState {_TELL}.path").strip() != "disabled":
        raise MachineError(f"{_TELL}.path is enabled, and nobody has asked for it")
    machine.run(f"systemctl start {_TELL}.service")  # as shipped
    wait_until(
        partial(_has_line, site, f"journalctl -q -o cat -u {_TELL}.service | grep -F '{_HINT}'"),
        "the hint in the journal",
    )
    _exposure_of(site, f"{_TELL}.service", _EXPOSURE_OF_A_COMMAND)
    drop_in = machine.path(f"/etc/systemd/system/{_TELL}.service.d/override.conf")
    drop_in.parent.mkdir()
    text = documents.section((PROJECT / "docs/units.md").read_text(), "A command of root after a change")
    edit, enable = documents.steps(text)
    drop_in.write_text(documents.replace(edit.text, {"/usr/sbin/smtpctl update table onions": _TOLD}))
    machine.run(_COMMAND)
    machine.run(f"{enable.text.strip()} && {_SYNC}")
    if machine.code("test -e /run/told") == 0:
        raise MachineError("told of a map that has not changed")
    for number in (1, 2):
        machine.run(f"echo told.example{number} {site.world.onion} >>/etc/onionmx/pins")
        machine.run(f"rm -f /run/told && {_SYNC}")
        wait_until(lambda: machine.code("grep -qx 0 /run/told") == 0, f"{_TELL}.service after a change")
        told = machine.read("cat /run/told").split()
        if told != [*sorted([REMOTE, *(f"told.example{each + 1}" for each in range(number))]), ".onion", "0"]:
            raise MachineError(f"{_TELL}.service was told of {told}")
        # In the sandbox of the unit, by its user.
        owner, *copied = machine.read(f"stat -c %U {_COPY} && cat {_COPY}").split()
        if owner != _USER or copied != told[:-1]:
            raise MachineError(f"sync.after has left {copied} of {owner}")
    machine.run(_NO_COMMAND)


_ASK = """\
import socket
request = b"request=smtpd_access_policy\\nprotocol_state=CONNECT\\nclient_address=fc00:dead:beef:4dad::ffff:fffe\\n\\n"
with socket.create_connection(("127.0.0.1", 10031)) as guard:
    for _ in range(200):
        guard.sendall(request)
        guard.recv(1000)
"""


def _guarded(site: Site) -> None:
    """The guard refuses a circuit, and asks tor about it over its control socket."""
    site.machine.run(f"python3 -c '{_ASK}'")
    wait_until(
        lambda: "circuit 4294967294 is gone" in site.machine.read("journalctl -o cat -u onionmx-guard.service"),
        "tor's answer in the log of onionmx-guard.service",
    )


def _exposure(site: Site) -> None:
    """What this release's systemd finds, of the units as they run."""
    for unit in _SERVICES:
        _exposure_of(site, unit, EXPOSURE)


def _exposure_of(site: Site, unit: str, most: float) -> None:
    said = site.machine.read(f"systemd-analyze security --no-pager {unit}")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    print(f"{unit}: exposure {found[1] if found else said}", flush=True)
    if found is None or float(found[1]) > most:
        raise MachineError(f"{unit} is more exposed than {most}:\n{said}")


_BY_HAND = """\
mkdir /run/byhand && cd /run/byhand
printf '[serve]\\ncontrol = "/run/byhand/control"\\nsocketmap_listen = ["unix:/run/byhand/map"]\\n' >onionmx.toml
printf '%s\\n' 'cache_path = ""' 'tcp_table_listen = []' 'readsocket_listen = []' 'http_listen = []' >>onionmx.toml
setsid sh -c 'echo $$ >pid; exec onionmx serve --config onionmx.toml' >log 2>&1 </dev/null &
until test -S map; do sleep 0.1; kill -0 $! || cat log; done"""
_WITH_A_CAPABILITY = """\
mkdir /etc/systemd/system/onionmx-serve.service.d
printf '[Service]\\n%s=CAP_NET_BIND_SERVICE\\n' CapabilityBoundingSet AmbientCapabilities \\
    >/etc/systemd/system/onionmx-serve.service.d/port.conf
systemctl daemon-reload && systemctl restart onionmx-serve.service"""
_AS_SHIPPED = """\
rm -r /etc/systemd/system/onionmx-serve.service.d
systemctl daemon-reload && systemctl restart onionmx-serve.service"""


def _isolation(site: Site) -> None:
    """The doctor says that these are units as shipped, and finds what root starts by hand and a unit that is not."""
    machine = site.machine
    _found(site, "ok", "", *(f"in {unit}: user" for unit in _DAEMONS), "in tor@default.service:")
    _found(site, "ok", "", *_DAEMONS, "onionmx-sync.service", "as tight as shipped")
    _found(site, "not checked", "setpriv --reuid 65534 --regid 65534 --clear-groups", "does not see which process")
    machine.run(_BY_HAND)
    _found(site, "problem", "", "onionmx serve", "runs as root")
    machine.run("kill $(cat /run/byhand/pid)")
    machine.run(_WITH_A_CAPABILITY)
    _found(
        site,
        "problem",
        "",
        "onionmx-serve.service has a capability",
        "in AmbientCapabilities, CapabilityBoundingSet",
    )
    machine.run(_AS_SHIPPED)
    _found(site, "ok", "", *(f"in {unit}: user" for unit in _DAEMONS))


def _found(site: Site, severity: str, before: str, *words: str) -> None:
    """All of this has been seen, with this severity; and where it is well, nothing else."""
    told = json.loads(site.machine.read(f"{before} onionmx doctor --json --check isolation || :"))
    print(json.dumps(told, indent=1), flush=True)
    seen = "\n".join(one["seen"] for one in told["findings"] if one["severity"] == severity)
    others = {one["severity"] for one in told["findings"]} - {severity}
    if any(word not in seen for word in words) or (severity == "ok" and others):
        raise MachineError(f"the doctor has not seen {words} as {severity}: {told}")


def _rights(site: Site) -> None:
    """Sync is a user of its own, whom root does not get in the way of; no daemon reaches tor's control socket."""
    machine = site.machine
    machine.run("onionmx sync && onionmx sync --status && systemctl start onionmx-sync.service")
    if others := machine.read(f"find /var/lib/onionmx ! -user {_USER}"):
        raise MachineError(f"not of {_USER}:\n{others}")
    # Root's number is known in the user namespace of the units, that of debian-tor is not.
    owner = machine.read(f'awk \'$2 == "{_SOCKS}" && $4 == "0A" {{print $8}}\' /proc/net/tcp').strip()
    if owner != "0":
        raise MachineError(f"the port of Debian's tor belongs to user {owner!r}")
    for unit in _SERVICES[:2]:
        groups = machine.read(f"grep ^Groups: /proc/$(systemctl show -P MainPID {unit})/status").split()[1:]
        control = machine.read("stat -c '%a %g' /run/tor/control").split()
        if int(control[0][-1]) or control[1] in groups:
            raise MachineError(f"{unit} may use tor's control socket: {control}, {groups}")
    if machine.code(f"setpriv --reuid {_USER} --regid {_USER} --init-groups test -w /run/tor/control") == 0:
        raise MachineError("sync may use tor's control socket")


def _signed_list(site: Site) -> None:
    """Sync checks a signature in its sandbox; a list that is not what was signed changes nothing."""
    machine = site.machine
    machine.run("apt-get -qy --no-install-recommends install openssh-client")
    machine.run(_SIGNED)
    machine.run("systemctl start onionmx-sync.service")
    known = machine.read("cat /var/lib/onionmx/onionmx.cdb.signed")
    if '"/etc/onionmx/domains":5' not in known:
        raise MachineError(f"the signed list was not taken: {known}")
    files = "cd /var/lib/onionmx && sha256sum *"
    before = machine.read(files)
    machine.run("echo evil.example >>/etc/onionmx/domains")
    code = machine.code("systemctl start onionmx-sync.service")
    status = machine.read("systemctl show -P ExecMainStatus onionmx-sync.service").strip()
    if not code or status != "78" or machine.read(files) != before:
        raise MachineError(f"a list that nobody has signed: sync ended with {status}")
    machine.run("rm /etc/onionmx/{domains,domains.sig,signers,onionmx.toml}")
    machine.run("systemctl reset-failed onionmx-sync.service && systemctl start onionmx-sync.service")


def _status(site: Site) -> None:
    """Root and members of one group may ask the relay, and lookups are such a member."""
    machine = site.machine
    if (seen := machine.read(f"stat -c '%a %G' {_STATUS}").split()) != ["660", _ASKERS]:
        raise MachineError(f"{_STATUS} is {seen}")
    number = machine.read(f"getent group {_ASKERS} | cut -d: -f3").strip()
    groups = machine.read("grep ^Groups: /proc/$(systemctl show -P MainPID onionmx-serve.service)/status").split()
    if number not in groups:
        raise MachineError(f"onionmx-serve.service is not in {_ASKERS} ({number}): {groups}")
    for group, code in ((number, 0), ("65534", 1)):
        if machine.code(f"setpriv --reuid 65534 --regid {group} --clear-groups {_CONNECT}") != code:
            raise MachineError(f"group {group}: expected exit code {code} from {_CONNECT}")
    told = json.loads(machine.read("onionmx status --json"))
    print(json.dumps(told, indent=1), flush=True)
    if told["failing"]["destinations"] is None or told["failing"]["why"] or told["map"]["waiting"] is None:
        raise MachineError("the relay and sync could not be asked")
    (own,) = told["onions"]["services"]
    if not (told["tor"]["has_circuits"] and own["onion"]):
        raise MachineError("tor could not be asked")


def _has_line(site: Site, command: str) -> bool:
    return site.machine.code(f"{command} | grep . >/dev/null") == 0


def _journal_and_page(site: Site) -> None:
    """The units reach the journal's socket, and lookups the control socket of the relay."""
    machine = site.machine
    machine.run("printf '[log]\\nformat = \"journald\"\\n' >/etc/onionmx/onionmx.toml")
    machine.run(f"systemctl reload {' '.join(_SERVICES[:2])} && systemctl start {_SERVICES[2]}")
    for unit, event in zip(_SERVICES[:3], ("reloaded", "reloaded", "synchronized"), strict=True):
        wait_until(
            partial(_has_line, site, f"journalctl --no-pager -q -u {unit} ONIONMX_EVENT={event}"),
            f"{unit} tells the journal of {event}",
        )
    get = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:10030/').read().decode())"
    page = machine.read(f'python3 -c "{get}"')
    if not re.search(r"Destinations that fail</th><td class=.ok.>", page):
        raise MachineError(f"the page does not know what the relay knows:\n{page}")
    machine.run("rm /etc/onionmx/onionmx.toml")
