"""All that a mail server is tried with as the receiver of the relay, through its onion service."""

from pathlib import Path

from tests.e2e.socks import Address

from .desk import Desk
from .opening import announces, starts_tls, takes_early
from .peer import Peer
from .sending import above_its_size, in_one_flight, many_on_few_sessions, of_every_form, recipients_who_are_refused
from .wire import recorded


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
            in_one_flight(desk, relay)
            recipients_who_are_refused(desk, relay)
            of_every_form(desk, relay)
            above_its_size(desk, relay)
        many_on_few_sessions(desk)
        takes_early(desk)
        starts_tls(desk)
