"""A sender's side for one peer: relays in front of it, what was handed over, and what has to be in its mailboxes."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.e2e.daemon import wait_until
from tests.e2e.relay import Relay

from .mta import Handover, Reply
from .peer import Copy, Peer
from .wire import Wire

SENDER = "carol@sender.example"
TRIES = 16
"""That an MTA makes for a message before the test takes it for lost."""
LONGEST_WAIT = 30
"""Seconds that are waited for at most before a try, where the relay leaves an onion alone: an MTA comes later still."""
_NEXT_TRY = re.compile(r"next try in (\d+) s")


def new_message(words: str = "Hello\r\n", *, header: str = "") -> tuple[bytes, bytes]:
    """A message, and the mark by which it is known."""
    mark = uuid4().hex
    head = f"From: <{SENDER}>\r\nTo: <list@receiver.example>\r\nSubject: {mark}\r\n"
    head += f"Message-ID: <{mark}@sender.example>\r\nDate: Sun, 22 Nov 2026 02:26:00 +0000\r\n{header}"
    return f"{head}\r\n{words}".encode(), mark.encode()


class Desk:
    """Hands over messages for a peer, and knows which of them are to arrive.

    Args:
        peer: who gets them.
        wire: on which the relays reach it.
        folder: a new folder for the relays.
    """

    def __init__(self, peer: Peer, wire: Wire, folder: Path) -> None:
        self.peer = peer
        self.row = peer.row
        self.wire = wire
        self._folder = folder
        self._due: Counter[tuple[str, bytes]] = Counter()

    def new_relay(self, name: str, *options: str) -> Relay:
        """A relay that is not started, with these keys of the table [relay]."""
        relay = Relay(self._folder / name, self.wire.socks, options)
        relay.publish({self.peer.domain: self.peer.onion})
        return relay

    @contextmanager
    def relaying(self, name: str, *options: str) -> Iterator[Relay]:
        """A relay that runs."""
        with self.new_relay(name, *options) as relay:
            yield relay

    def hand_over(  # noqa: PLR0913 -- what differs between messages
        self,
        session: Handover,
        users: Sequence[str],
        message: tuple[bytes, bytes],
        *,
        sender: str = SENDER,
        options: Sequence[str] = (),
        of_recipients: Sequence[str] = (),
    ) -> list[Reply]:
        """Hand over a message once; each recipient that is told 2xx has to get it."""
        content, mark = message
        addresses = [self.peer.address(user) for user in users]
        replies = session.hand_over(sender, addresses, content, options, of_recipients)
        self._due.update((user, mark) for user, reply in zip(users, replies, strict=True) if reply.is_positive)
        return replies

    def deliver(self, session: Handover, users: Sequence[str], message: tuple[bytes, bytes]) -> tuple[list[Reply], int]:
        """Hand over a message as an MTA does: again for those who were told 4xx; the last replies and the tries."""
        last: dict[str, Reply] = {}
        for number in range(1, TRIES + 1):
            left = [user for user in users if user not in last or last[user].is_transient]
            last.update(zip(left, self.hand_over(session, left, message), strict=True))
            if not any(reply.is_transient for reply in last.values()):
                return [last[user] for user in users], number
            waits = [int(found[1]) for reply in last.values() if (found := _NEXT_TRY.search(reply.text))]
            time.sleep(min(max(waits, default=0), LONGEST_WAIT))
        raise AssertionError(f"{self.peer.program} still defers after {TRIES} tries: {last}")

    def settle(self) -> None:
        """Wait until all that was taken is there, and fail where something is there twice, or should not be there."""
        wait_until(lambda: not self._due - self._found(), f"{sum(self._due.values())} copies at {self.peer.program}")
        found = self._found()
        assert not found - self._due, f"too many copies at {self.peer.program}: {found - self._due}"

    def copies(self, mark: bytes) -> list[Copy]:
        """What has arrived of a message."""
        return [copy for copy in self.peer.copies() if mark in copy.content]

    def _found(self) -> Counter[tuple[str, bytes]]:
        marks = {mark for _, mark in self._due}
        return Counter((copy.user, _mark_of(copy.content, marks)) for copy in self.peer.copies())


def _mark_of(content: bytes, marks: set[bytes]) -> bytes:
    """The mark of a message that was handed over, or the beginning of another."""
    _, _, subject = content.partition(b"\nSubject: ")
    mark = subject[:32]
    return mark if mark in marks else content[:200]
