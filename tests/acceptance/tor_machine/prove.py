"""The machine is built, started, used for mail both ways, updated, broken, rolled back; and looked at from outside."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.acceptance.administrator import follow
from tests.acceptance.machine import Machine, MachineError
from tests.acceptance.mta import HOSTNAME, MAILBOX, USER
from tests.acceptance.roots import Release
from tests.acceptance.sandbox import prepare_cgroups, stack
from tests.acceptance.tor_machine import confined, mirror
from tests.acceptance.tor_machine.host import INTERNET, ROUTER, host_network, install, leave_network, pins
from tests.acceptance.world import LOCAL, REMOTE, World
from tests.e2e.daemon import wait_until

_BUILD = "onionmx machine build"
_ENDS = "/usr/bin/true"
_TOR = "/var/lib/onionmx-machine/roots/{}/usr/bin/tor"
_HANGS = "/usr/bin/tail"  # with the arguments of tor it shows torrc, and waits for more
_BROKEN = """\
import shutil, sys
from onionmx.machine.change import MachineChange
from onionmx.machine.places import ROOTS
from onionmx.machine.roots import Roots
from onionmx.machine.service import Service

def build(place, lock, say):
    root = place / "root"
    shutil.copytree(ROOTS / "current", root, symlinks=True)
    shutil.copy(sys.argv[1], root / "usr/bin/tor")
    return root

class Unchecked(Service):
    def verify(self, root):
        pass

MachineChange(Roots(ROOTS), Unchecked(), build, lambda words: print(words, flush=True), 600).update()
"""
_SEND = f"""\
import smtplib, sys
with smtplib.SMTP("127.0.0.1", 10025, timeout=150) as relay:
    relay.sendmail("{USER}@{LOCAL}", ["bob@{REMOTE}"], "Subject: " + sys.argv[1] + "\\n\\nHello.\\n")
"""
_PYTHON = "$(sed -n '1s,^#!,,p' /usr/bin/onionmx | cut -d' ' -f1)"


def prove(layers: Sequence[Path], folder: Path, deb: Path, release: Release) -> None:
    """Do all of it."""
    install(stack(layers, folder / "host"), deb, release, folder / "mirror")
    root = stack([folder / "host", *layers], folder / "machine")
    leave_network()
    prepare_cgroups()
    with (
        World(folder, INTERNET) as world,
        host_network() as network,
        mirror.serving(folder / "mirror", ROUTER),
        Machine(root, HOSTNAME, network, is_host=True) as machine,
    ):
        try:
            _prove(machine, world)
        except Exception:
            for command in ("systemctl --failed", "onionmx machine status", "journalctl -b --no-pager -n 150"):
                print(f"--- {command}\n{machine.read(command)}", flush=True)
            raise
        machine.power_off()


def _prove(machine: Machine, world: World) -> None:
    # There is no udev, and nspawn waits for it to know an interface, unless /sys says that there is none.
    machine.run("mount -o remount,bind,ro /sys")
    # Its last step needs this torrc, and comes below.
    follow(machine, "docs/tor-machine.md", "Set it up", skipped=(_BUILD,))
    machine.path("/etc/onionmx/pins").write_text(pins(world.onion))
    machine.run("onionmx sync")
    with machine.path("/etc/onionmx-tor/torrc").open("a") as torrc:
        torrc.write("".join(f"{line}\n" for line in world.tor_defaults.splitlines()))
    machine.run(_BUILD)
    _expect(machine, f"{_BUILD} && readlink /var/lib/onionmx-machine/current", "roots/1")
    machine.run("systemctl enable --now onionmx-tor-mta.socket onionmx-tor.service")
    _is_ready(machine)
    (onion,) = _status(machine)["tor"]["onions"]
    _mail(machine, world, onion, "first")
    confined.prove(machine)
    _expect(machine, "onionmx doctor --check isolation", r"own machine: tor .* in machine onionmx-tor: users")
    _updates(machine, world, onion)


def _updates(machine: Machine, world: World, onion: str) -> None:
    # Whatever differs makes an update; the archive has nothing newer. A tor that ends again and again is replaced too.
    machine.run(f"cp --remove-destination {_ENDS} {_TOR.format(1)} && systemctl kill onionmx-tor.service")
    count = "systemctl show --property=NRestarts --value onionmx-tor.service"
    wait_until(lambda: int(machine.read(count)) > 0, "a tor that ends again and again", 60)
    machine.run("onionmx machine update")
    _has(machine, onion, current="2", previous="1")
    if said := machine.run("onionmx machine update"):
        raise MachineError(f"an update that changes nothing says {said!r}, without a terminal")
    said = machine.run("onionmx machine rollback 2>&1", check=False)
    if not re.search(r"is not sound: (tor ended by itself|\S+ does not start: .*); back to that with tor", said):
        raise MachineError("the broken root was not taken back")
    _has(machine, onion, current="2", previous="1")
    machine.run(f"cp --remove-destination {_TOR.format(2)} {_TOR.format(1)} && onionmx machine rollback")
    _has(machine, onion, current="1", previous="2")
    _killed(machine, onion)
    _mail(machine, world, onion, "last")


def _killed(machine: Machine, onion: str) -> None:
    """An update that is killed while its root is on trial; when the unit starts next, it goes back."""
    log = machine.path("/root/broken.log")
    machine.path("/root/broken.py").write_text(_BROKEN)
    machine.run(f"{_PYTHON} /root/broken.py {_HANGS} >/root/broken.log 2>&1 & echo $! >/root/broken.pid")
    wait_until(lambda: log.exists() and "wait until tor" in log.read_text(), "a root on trial", 120)
    machine.run("kill -KILL $(cat /root/broken.pid)")
    if not _status(machine)["on_trial"]:
        raise MachineError("no root is on trial")
    machine.run("systemctl kill --signal=KILL onionmx-tor.service")
    _is_ready(machine)
    machine.run(_BUILD)  # as every run, it removes what is not needed any more
    _has(machine, onion, current="1", previous="2")


def _mail(machine: Machine, world: World, onion: str, what: str) -> None:
    machine.run("systemctl restart onionmx-relay.service")
    world.tor.client.wait_until_reachable(onion)
    world.send(onion, f"{USER}@{LOCAL}", f"received {what}")
    mailbox = machine.path(MAILBOX)
    wait_until(
        lambda: mailbox.exists() and f"received {what}" in mailbox.read_text(errors="replace"), f"{what} in {mailbox}"
    )
    machine.run(f"python3 -c '{_SEND}' 'sent {what}'")
    world.receive(f"sent {what}", 60)


def _is_ready(machine: Machine) -> None:
    wait_until(lambda: machine.code("onionmx machine status") == 0, "tor in its machine", 120)


def _has(machine: Machine, onion: str, *, current: str, previous: str) -> None:
    status = _status(machine)
    found = (status["root"]["name"], status["previous"]["name"], status["tor"]["onions"], status["on_trial"])
    if found != (current, previous, [onion], False):
        raise MachineError(f"{status}: expected root {current}, before it {previous}, and {onion}")
    kept = machine.read("ls /var/lib/onionmx-machine/roots").split()
    if sorted(kept) != sorted({current, previous}):
        raise MachineError(f"roots: {kept}")


def _status(machine: Machine) -> Any:  # noqa: ANN401 -- JSON
    said = machine.run("onionmx machine status --json", check=False)
    return json.loads(said[said.index("{") :])


def _expect(machine: Machine, script: str, pattern: str) -> None:
    if not re.search(pattern, said := machine.run(script)):
        raise MachineError(f"{script}: {said!r} has no {pattern!r}")
