"""No process of onionmx is root or has a capability while it works: units, and what Exim starts as root.

What root starts by hand, and `onionmx-route` until it has read its own code, are root; so they are not looked at then.
"""

import smtplib
from collections.abc import Collection, Sequence
from itertools import pairwise

from tests.acceptance.administrator import follow
from tests.acceptance.machine import MachineError
from tests.acceptance.mta import USER
from tests.acceptance.site import DELIVERY, Site
from tests.acceptance.world import LOCAL, REMOTE
from tests.e2e.rights import OF_NO_ROOT, OF_NO_WAY_BACK, command_of, excess, processes, status_of

from .opens import Opening, Opens, watched

_DAEMONS = ("relay", "serve", "watch", "guard", "echo")
_SYNC, _ROUTE = "sync", "onionmx-route"
_STATE = "/var/lib/onionmx"
_LOW = "127.0.0.7"
_DROP_IN = f"""\
mkdir -p /etc/systemd/system/onionmx-relay.socket.d
printf '[Socket]\\nListenStream=\\nListenStream={_LOW}:25\\n' >/etc/systemd/system/onionmx-relay.socket.d/port.conf
printf '[relay]\\nsmtp_listen = ["{_LOW}:25"]\\nlmtp_listen = []\\n' >/etc/onionmx/onionmx.toml
chmod 0644 /etc/onionmx/onionmx.toml"""
_NO_DROP_IN = "rm -r /etc/systemd/system/onionmx-relay.socket.d /etc/onionmx/onionmx.toml"
_RESTART_RELAY = """\
systemctl daemon-reload && systemctl stop onionmx-relay.socket onionmx-relay.service
systemctl start onionmx-relay.socket onionmx-relay.service"""


def prove(site: Site) -> None:
    """Have everything work while the kernel tells who opens code, map and state. The MTA is Exim, and stopped."""
    machine = site.machine
    [code] = machine.path("/usr/lib/onionmx/lib").glob("python3.*/site-packages/onionmx/__pycache__")
    state = machine.path(_STATE)
    with watched([code, state]) as opens:
        machine.run(f"systemctl restart {' '.join(f'onionmx-{name}.service' for name in _DAEMONS)}")
        machine.run(f"systemctl start onionmx-{_SYNC}.service")
        _low_port(site)
        _look_at_units()
    _judge(opens, {*_DAEMONS, _SYNC}, {_SYNC, "relay"}, OF_NO_WAY_BACK)
    follow(machine, "exim/README.md", "Sending")
    site.tor_is_up()
    with watched([code, state]) as opens:
        said = machine.run(f"exim4 -bt bob@{REMOTE}")  # by root
        site.sends()  # by the daemon, which is root to deliver
        _look_at_units()
    if "router = onionmx, transport = onionmx_smtp" not in said:
        raise MachineError(f"Exim has no route: {said}")
    _judge(opens, {_ROUTE}, {_ROUTE}, OF_NO_ROOT)


def _low_port(site: Site) -> None:
    """A port below 1024 comes from the socket unit, and the relay that has it delivers."""
    machine = site.machine
    machine.run(_DROP_IN)
    machine.run(_RESTART_RELAY)
    subject = site.subject("by a low port")
    with smtplib.SMTP(_LOW, 25, local_hostname=f"mail.{LOCAL}", timeout=DELIVERY) as relay:
        relay.sendmail(f"{USER}@{LOCAL}", [f"bob@{REMOTE}"], f"Subject: {subject}\n\nHello.\n")
    site.arrives(subject)
    _look_at_units()
    machine.run(_NO_DROP_IN)
    machine.run(_RESTART_RELAY)


def _look_at_units() -> None:
    """The daemons as they run; the machine's processes are all that this process sees besides itself."""
    seen = set()
    for pid in processes():
        command = command_of(pid)
        if name := _program(command):
            seen.add(name)
            if found := excess(status_of(pid), OF_NO_WAY_BACK):
                raise MachineError(f"{' '.join(command)} has {found}")
    if missing := {*_DAEMONS} - seen:
        raise MachineError(f"daemons that do not run: {missing}")


def _judge(opens: Opens, programs: Collection[str], readers: Collection[str], sets: tuple[str, ...]) -> None:
    """Fail if one of onionmx had rights of root, or if one of these was not seen.

    Args:
        programs: that must have been seen at all.
        readers: that must have been seen at map and state.
        sets: of capabilities that must be empty.
    """
    if opens.failures:
        raise MachineError(f"it could not be told who opens files: {opens.failures}")
    ours = [(name, each) for each in opens.seen if (name := _program(each.command))]
    for name, each in ours:
        if (name != _ROUTE or not _is_code(each)) and (found := excess(each.status, sets)):
            raise MachineError(f"{' '.join(each.command)} has {found} while it opens {each.path}")
    if missing := {*programs} - {name for name, _ in ours}:
        raise MachineError(f"programs that were not seen: {missing}")
    if missing := {*readers} - {name for name, each in ours if not _is_code(each)}:
        raise MachineError(f"programs that were not seen at {_STATE}: {missing}")
    users = {(name, each.status["Uid"].split()[0]) for name, each in ours if not _is_code(each)}
    print(f"{len(ours)} openings without rights of root; at map and state: {sorted(users)}", flush=True)


def _is_code(opening: Opening) -> bool:
    return "/__pycache__/" in opening.path


def _program(command: Sequence[str]) -> str:
    """What a process runs of onionmx: `onionmx-route`, or the subcommand of `onionmx`; empty for anything else."""
    for word, following in pairwise([*command, ""]):
        if word == "/usr/bin/onionmx":
            return following
        if word == f"/usr/bin/{_ROUTE}":
            return _ROUTE
    return ""
