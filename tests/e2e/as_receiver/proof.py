"""All that a mail server is tried with as the receiver of the relay, through its onion service."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.socks import Address

from .desk import Desk
from .opening import announces, starts_tls, takes_early
from .peer import Peer
from .sending import above_its_size, in_one_flight, many_on_few_sessions, of_every_form, recipients_who_are_refused
from .wire import recorded

_logger = logging.getLogger(__name__)


def prove(peer: Peer, socks: Address, folder: Path) -> None:
    """Send the peer real messages through a real relay; what is not as it should be raises an exception.

    Args:
        peer: runs, and can be reached through the SOCKS port.
        socks: of a tor that runs.
        folder: a new folder.
    """
    announces(peer, socks)
    with recorded(socks) as wire:
        desk = Desk(peer, wire, folder)
        with desk.relaying("relay") as relay:
            for shown in (in_one_flight, recipients_who_are_refused, of_every_form, above_its_size):
                with _timed(shown.__name__):
                    shown(desk, relay)
        for tried in (many_on_few_sessions, takes_early, starts_tls):
            with _timed(tried.__name__):
                tried(desk)


@contextmanager
def _timed(name: str) -> Iterator[None]:
    begin = time.monotonic()
    _logger.info("%s: begins", name)
    yield
    _logger.info("%s: %.1f s", name, time.monotonic() - begin)
