"""Whatever fails, mail waits, arrives later, and nobody is told of an onion service by the open DNS."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial

from tests.e2e.daemon import DaemonError, wait_until

from .machine import MachineError
from .mta import BOUNCED
from .site import DELIVERY, Site
from .world import PLAIN, REMOTE

_MAPS = "/var/lib/onionmx"
_TRIES = 24
_FLUSH = 600.0  # some end with the last delivery, for which the relay may take relay.deadline
_RECORDS = ("MX", "A", "AAAA")
"""What an MTA asks for when it wants to deliver over the clearnet."""


def faults(site: Site, *names: str) -> None:
    """Break each of these, send a message meanwhile, put it right, and wait for the message."""
    for name in names:
        print(f"--- {name}", flush=True)
        subject = site.subject(name)
        recipient = f"{subject.replace(' ', '-')}@{REMOTE}"
        asked = len(site.world.dns.questions())
        with _FAULTS[name](site):
            site.mta.submit(site.machine, subject, recipient)
            wait_for_outcome(site, recipient)
        no_clearnet(site, asked, REMOTE)
        flush_until(site, partial(_has_arrived, site, subject), f"{subject} at {REMOTE}")
        site.no_leak()


def names(site: Site) -> None:
    """Send to addresses at onion names in every form."""
    onion = site.world.onion
    body = onion.removesuffix(".onion")
    wrong = ("a" if body[0] != "a" else "b") + body[1:]
    for name, domain, is_delivered in (
        ("an onion name", onion, True),
        ("upper case", onion.upper(), True),
        ("a sub-label", f"x.{onion}", True),
        ("a wrong checksum", f"{wrong}.onion", False),
        ("a sub-label of a wrong checksum", f"x.{wrong}.onion", False),
        ("too short", f"{body[:-1]}.onion", False),
        ("onion alone", "onion", False),
    ):
        print(f"--- {name}", flush=True)
        subject = site.subject(name)
        recipient = f"{subject.replace(' ', '-')}@{domain}"
        site.mta.submit(site.machine, subject, recipient)
        if is_delivered:
            site.arrives(subject)
        elif BOUNCED not in (outcomes := wait_for_outcome(site, recipient)):
            raise MachineError(f"{recipient} was not refused: {outcomes}")
        site.no_leak()
    # Refused by some, delivered by others.
    site.mta.submit(site.machine, site.subject("a trailing dot"), f"bob@{onion}.")
    site.no_leak()


def others(site: Site) -> None:
    """Mail for a domain without onion MX goes as it ever did: the open DNS is asked for its MX."""
    recipient = f"{site.subject('plain').replace(' ', '-')}@{PLAIN}"
    site.mta.submit(site.machine, "plain", recipient)
    if BOUNCED not in wait_for_outcome(site, recipient):  # the DNS may have been slow
        refused = f"{recipient}, in a domain that does not exist, is refused"
        flush_until(site, lambda: BOUNCED in site.mta.outcomes(site.machine, recipient), refused)
    if not any(question.name == PLAIN and question.kind == "MX" for question in site.world.dns.questions()):
        raise MachineError(f"the MX of {PLAIN} was not asked for")


def no_clearnet(site: Site, asked: int, *domains: str) -> None:
    """Fail if the way to one of these domains over the clearnet was looked for.

    Args:
        asked: how many questions the open DNS had been asked before.
    """
    since = site.world.dns.questions()[asked:]
    if clear := [question for question in since if question.name in domains and question.kind in _RECORDS]:
        raise MachineError(f"the way over the clearnet was looked for: {clear}")


def wait_for_outcome(site: Site, recipient: str) -> list[str]:
    """Wait until the MTA says what became of a recipient; return what it says of all tries."""
    outcomes: list[str] = []

    def known() -> bool:
        outcomes[:] = site.mta.outcomes(site.machine, recipient)
        return bool(outcomes)

    wait_until(known, f"what became of {recipient}", DELIVERY)
    return outcomes


def _has_arrived(site: Site, subject: str) -> bool:
    return bool(site.world.copies(subject))


def flush_until(site: Site, condition: Callable[[], bool], what: str) -> None:
    """Have the MTA try again until it is so: what has changed is not taken up at once by all."""
    for _ in range(_TRIES):
        site.machine.run(site.mta.flush, check=False, timeout=_FLUSH)
        with suppress(DaemonError):
            wait_until(condition, what, DELIVERY / _TRIES)
            return
    raise MachineError(f"not after {_TRIES} tries: {what}")


@contextmanager
def _stopped(site: Site, unit: str) -> Iterator[None]:
    site.machine.run(f"systemctl stop {unit}")
    yield
    site.machine.run(f"systemctl start {unit}")


@contextmanager
def _no_tor(site: Site) -> Iterator[None]:
    with _stopped(site, "tor@default"):
        yield
    site.tor_is_up()


@contextmanager
def _no_map(site: Site) -> Iterator[None]:
    site.machine.run(f"mkdir /root/maps && mv {_MAPS}/*.cdb /root/maps/")
    yield
    site.machine.run(f"mv /root/maps/*.cdb {_MAPS}/ && rmdir /root/maps")


_FAULTS: dict[str, Callable[[Site], AbstractContextManager[None]]] = {
    "map missing": _no_map,
    "relay down": lambda site: _stopped(site, "onionmx-relay.socket onionmx-relay.service"),
    "daemon down": lambda site: _stopped(site, "onionmx-serve.socket onionmx-serve.service"),
    "tor down": _no_tor,
}
