"""The unit of the machine, and tor in it: what onionmx asks of the two."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onionmx.errors import ConfigurationError, ControlError, TemporaryError
from onionmx.machine.places import CONTROL, MACHINE, NSPAWN, TORRC, UNIT, prepare
from onionmx.machine.run import run
from onionmx.tor.control import open_control
from onionmx.tor.service.running import services

_POLL = 0.5  # seconds between two looks at tor
_DONE = 100  # per cent of bootstrapping
_VERIFY_TIMEOUT = 60.0
_REFUSED = "[err]"  # in what tor writes then; nspawn's own failures have no such line


@dataclass(frozen=True, slots=True)
class Look:
    """What tor in the machine says.

    Attributes:
        version: of tor.
        bootstrapped: per cent; at 100 it can use the Tor network.
        onions: addresses of its services.
        problem: why an address could not be told; empty where all were.
    """

    version: str
    bootstrapped: int
    onions: tuple[str, ...]
    problem: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether it can use the Tor network."""
        return self.bootstrapped == _DONE


class Service:
    """The unit, and tor."""

    def is_active(self) -> bool:
        """Whether the machine runs, or is being started."""
        return self._show("ActiveState") in {"active", "activating", "reloading"}

    def restart(self) -> None:
        """Start the machine again, with the root that is the current one.

        Raises:
            TemporaryError: it does not start.
        """
        try:
            # Else systemd goes on counting where it is between two starts of a tor that ends each time (`fault`).
            run(("systemctl", "reset-failed", UNIT))
            run(("systemctl", "restart", UNIT))
        except TemporaryError as error:
            raise TemporaryError(f"{UNIT} does not start: journalctl -u {UNIT} says why") from error

    def fault(self) -> str:
        """What went wrong with the machine since it was started; empty if nothing did."""
        if self._show("NRestarts") not in {"", "0"}:
            return "tor ended by itself"
        return "" if self.is_active() else f"{UNIT} is {self._show('ActiveState')}"

    def look(self) -> Look:
        """Ask tor.

        Raises:
            ControlError: it cannot be asked.
        """
        with open_control(CONTROL) as controller:
            said = controller.get_info("status/bootstrap-phase")
            done = said.partition("PROGRESS=")[2].split(" ")[0]
            found = services(controller)
            return Look(
                version=str(controller.get_version()).split(" ")[0],
                bootstrapped=int(done) if done.isdecimal() else 0,
                onions=tuple(sorted(service.onion for service in found if service.onion)),
                problem="; ".join(service.problem for service in found if not service.onion),
            )

    def verify(self, root: Path) -> None:
        """Let tor in a new root check torrc, in the same confinement and without a network.

        Raises:
            ConfigurationError: the settings are not installed, or tor refuses.
            TemporaryError: it could not be asked.
        """
        for path in (NSPAWN, TORRC):
            if not path.is_file():
                raise ConfigurationError(f"{path} is missing: docs/tor-machine.md says what is to be installed first")
        prepare()
        # A unit of its own: nspawn divides the cgroup that it is in, and that of cron, say, is not its to divide.
        unit = ("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--property=Delegate=yes")
        nspawn = ("systemd-nspawn", "--quiet", "--keep-unit", "--register=no", "--settings=trusted", "--console=pipe")
        tor = ("/usr/bin/tor", "--verify-config", "-f", TORRC)
        try:
            run((*unit, *nspawn, f"--machine={MACHINE}", f"--directory={root}", *tor), timeout=_VERIFY_TIMEOUT)
        except TemporaryError as error:
            if _REFUSED not in str(error):
                raise
            raise ConfigurationError(f"tor in the new root refuses {TORRC}: {error}") from error

    def _show(self, name: str) -> str:
        return run(("systemctl", "show", f"--property={name}", "--value", UNIT)).strip()


def why_not_sound(service: Service, before: Look | None, wait: float, now: Callable[[], float]) -> str:
    """Wait until tor, after a restart, is what it was; say why it is not, or nothing.

    Args:
        before: what tor said before; `None` where it could not be asked. Only if it could use the Tor network then must
            it be able to now: a host may be cut off from it.
        wait: seconds.
        now: a clock.
    """
    end = now() + wait
    while True:
        if fault := service.fault():
            return fault
        try:
            look = service.look()
        except ControlError as error:
            why = str(error)
        else:
            lost = set(before.onions if before else ()) - set(look.onions)
            if not lost and (look.is_ready or (before is not None and not before.is_ready)):
                return ""
            why = f"it has lost {', '.join(sorted(lost))}" if lost else f"it bootstrapped to {look.bootstrapped} %"
        if now() >= end:
            return f"within {wait:g} s {why}"
        time.sleep(_POLL)
