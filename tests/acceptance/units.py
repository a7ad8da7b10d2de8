"""Every unit of the package, and onion create without any configuration, on a machine with nothing set up."""

from functools import partial

from tests.e2e.daemon import answers, wait_until

from .machine import MachineError
from .site import CLONE, Site
from .world import REMOTE

_PORTS = {"onionmx-relay.service": (10025, 10026), "onionmx-serve.socket": (10027, 10028, 10029, 10030)}
_LEFT = """\
ls -d /usr/lib/onionmx /usr/share/onionmx /etc/onionmx 2>/dev/null
find /etc/systemd -name 'onionmx*'"""
_SERVICES = ("onionmx-relay.service", "onionmx-serve.service", "onionmx-sync.service")


def prove(site: Site) -> None:
    """Start and stop them, look at what they do; the machine has no libnss-systemd."""
    machine = site.machine
    if "libnss" in machine.read("dpkg-query -W -f '${Status} ${Package}\\n' libnss-systemd | grep ^install"):
        raise MachineError("libnss-systemd is installed: users of DynamicUser= have names")
    # It looks at every file of the machine, so nobody else may write.
    machine.run(f"systemctl stop tor@default {site.mta.name}*")
    machine.run(f"python3 {CLONE}/package_life.py {CLONE}/dist/onionmx_built.deb", timeout=300)
    machine.run("systemctl start tor@default")
    machine.run(f"apt-get -qy install {CLONE}/dist/onionmx_built.deb")
    machine.run(f"rm -rf /etc/onionmx/* && echo {REMOTE} {site.world.onion} >/etc/onionmx/pins")
    site.tor_is_up()
    machine.run("onionmx onion create")
    shipped = machine.read("dpkg -L onionmx | sed -n 's,.*/systemd/system/\\(onionmx[^/]*\\)$,\\1,p'").split()
    if missing := {*_SERVICES, *_PORTS, "onionmx-sync.timer"} - set(shipped):
        raise MachineError(f"the package does not have {missing}")
    machine.run("systemctl enable --now onionmx-relay.service onionmx-serve.socket onionmx-sync.timer")
    for unit, ports in _PORTS.items():
        for port in ports:
            wait_until(partial(answers, "127.0.0.1", port), f"{unit} at port {port}")
    machine.run("systemctl start onionmx-serve.service onionmx-sync.service")
    _all_well(site, shipped)
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
