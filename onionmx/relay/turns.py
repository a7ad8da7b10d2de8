"""Which recipients of a message that comes again by SMTP let others go first. No I/O.

By SMTP the accepted recipients of a message have one reply, so the relay sends those with another route back (452).
Where the accepted ones fail for the moment, an MTA that names all in the same order again would never deliver to the
others, until its queue gives up. So who has failed is sent back itself, until those that waited for it have had their
turn; which one comes first is forgotten with that. A recipient that has failed before the onion MX was asked about it
is first asked at RCPT: if that refuses it, nobody else has to wait.

Messages are told apart by sender and size, which is all that there is to tell them by at RCPT. So a message with one
recipient may be sent back for another message; how long is bounded by `LONGEST`.
"""

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from onionmx.smtp.envelope import Envelope

LONGEST = 14_400.0
"""Seconds after its last failure for which a recipient lets others go first: an MTA comes again many times before."""
_MOST_RECIPIENTS = 50_000  # that are remembered, about 100 bytes each
_MOST_WAITING = 100  # recipients of a message

Key = tuple[str, int | None]
"""Sender and size of a message."""


@dataclass(slots=True)
class _Message:
    """What is known of a message; recipients by hashes of their addresses, which can be long.

    Attributes:
        failed: when each failed last, as a number that grows; 0 where the onion MX was not asked about it.
        waiting: since when others were sent back without a turn of their own, as such a number.
        since: seconds of the clock at which one failed last.
    """

    failed: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, int] = field(default_factory=dict)
    since: float = 0.0

    @property
    def size(self) -> int:
        """Recipients that are remembered."""
        return len(self.failed) + len(self.waiting)


class Turns:
    """Remembers messages of which recipients have failed while others were sent back. Belongs to one process.

    Args:
        now: seconds of a clock that never goes back.
        most: recipients that are remembered, of the newest message at least.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, most: int = _MOST_RECIPIENTS) -> None:
        self._now = now
        self._messages: OrderedDict[Key, _Message] = OrderedDict()
        self._numbers = itertools.count(1)
        self._most = most
        self._size = 0  # at least as many as are remembered

    def inherit(self, former: "Turns") -> None:
        """Share what a former one remembers: transactions of its own may be under way."""
        self._messages, self._numbers = former._messages, former._numbers  # noqa: SLF001 -- of the same class
        self._size = former._size  # noqa: SLF001

    def of(self, envelope: Envelope) -> "TransactionTurns":
        """The turns of one transaction.

        Args:
            envelope: sender and size count.
        """
        return TransactionTurns(self, (envelope.sender, envelope.size))

    def known(self, key: Key) -> _Message | None:
        """What is known of a message; `None` where nothing is, or nothing of the last `LONGEST` seconds."""
        message = self._messages.get(key)
        if message is not None and self._now() - message.since > LONGEST:
            del self._messages[key]
            return None
        return message

    def failed(self, key: Key, addresses: Iterable[str], sent_back: Iterable[str], *, were_asked: bool) -> None:
        """Note recipients that failed, and those that were sent back for them."""
        message = self._messages.setdefault(key, _Message())
        self._messages.move_to_end(key)
        message.since = self._now()
        number, before = next(self._numbers), message.size
        for address in addresses:
            message.failed[hash(address)] = number if were_asked else 0
        for address in itertools.islice(sent_back, _MOST_WAITING):
            message.waiting.setdefault(hash(address), number)
        self._size += message.size - before
        if self._size > self._most:
            self._make_room()

    def _make_room(self) -> None:
        """Forget the messages that failed longest ago."""
        self._size = sum(message.size for message in self._messages.values())
        while self._size > self._most and len(self._messages) > 1:
            self._size -= self._messages.popitem(last=False)[1].size

    def forget(self, key: Key, address: str) -> None:
        """A recipient comes no more: it has a reply that stays."""
        message = self._messages.get(key)
        if message is not None:
            message.failed.pop(hash(address), None)
            if not message.failed:
                del self._messages[key]


class TransactionTurns:
    """The turns of one transaction, as `Turns.of` makes it."""

    def __init__(self, turns: Turns, key: Key) -> None:
        self._turns = turns
        self._key = key
        self._sent_back: list[str] = []

    @property
    def must_ask(self) -> bool:
        """Whether the onion MX has to accept a recipient before the relay does: one has failed otherwise."""
        return self._turns.known(self._key) is not None

    def is_sent_back(self, address: str) -> bool:
        """Whether others, which have waited since this one has failed last or longer, go first."""
        message = self._turns.known(self._key)
        own = hash(address)
        last = message.failed.get(own, 0) if message else 0
        return message is not None and any(since <= last for other, since in message.waiting.items() if other != own)

    def send_back(self, address: str) -> None:
        """A recipient was told to come in another transaction, for those that were accepted in this one."""
        self._sent_back.append(address)

    def had_turn(self, address: str) -> None:
        """A recipient has an answer of its own: it waits no more."""
        message = self._turns.known(self._key)
        if message is not None:
            message.waiting.pop(hash(address), None)

    def end(self, accepted: Iterable[str], *, is_transient: bool, were_asked: bool) -> None:
        """The accepted recipients have the reply to the message.

        Args:
            is_transient: it is for the moment.
            were_asked: the onion MX had accepted them.
        """
        addresses = tuple(accepted)
        for address in addresses:
            self.had_turn(address)
        if not is_transient:
            for address in addresses:
                self._turns.forget(self._key, address)
        elif self._sent_back or self.must_ask:
            self._turns.failed(self._key, addresses, self._sent_back, were_asked=were_asked)
