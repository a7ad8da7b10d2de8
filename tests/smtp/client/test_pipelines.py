"""Random messages to a peer that decides at random, whose replies come in random pieces.

Invariants:
- a message is delivered, by its outcome, exactly if the peer took it, for just those recipients and byte for byte;
- if the connection ends at a random point, no message that the peer took has an outcome that rules this out;
- each transaction has one outcome; those that the peer answered, in the order in which they were begun.
"""

import random
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from onionmx.smtp.client.core import ClientConnection
from onionmx.smtp.client.events import Closed, Ended, Event
from onionmx.smtp.client.outcome import Ending, Outcome
from onionmx.smtp.client.states import State
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.faults import ReplySyntaxError
from onionmx.smtp.reply_parser import MAX_LINE_LENGTH, ReplyParser
from tests.smtp.client.peer import PeerCore

if TYPE_CHECKING:
    from onionmx.smtp.client.transaction import ClientTransaction

EXTENSIONS = [("PIPELINING", "CHUNKING"), ("PIPELINING",), ("CHUNKING",), ("8BITMIME",)]
CODES = {"DATA": (354, 354, 354, 451, 554), "MAIL": (250, 250, 250, 250, 451), "END": (250, 250, 250, 452, 554)}
OTHER_CODES = (250, 250, 251, 450, 550)


class Play:
    """One run: a core, a peer, and the bytes on the way."""

    def __init__(self, chance: random.Random, extensions: tuple[str, ...]) -> None:
        self.chance = chance
        self.peer = PeerCore(extensions, decide=lambda stage: chance.choice(CODES.get(stage, OTHER_CODES)))
        self.core = ClientConnection("client.example")
        self.to_client = deque([self.peer.greeting()])
        self.events: list[Event] = []
        self.begun: list[tuple[ClientTransaction, bytes]] = []
        self.plan: Iterator[None] = iter(())

    def run(self, messages: int, break_after: int | None = None) -> None:
        """Play until all messages have an outcome.

        Args:
            messages: how many.
            break_after: number of steps after which the connection ends.
        """
        steps = 0
        while self.core.state not in {State.CLOSED, State.BROKEN}:
            steps += 1
            assert steps < 10_000
            if break_after is not None and steps > break_after:
                self.core.receive_eof()
            elif self.chance.random() < 0.5 and self.advance(messages):
                pass
            elif self.to_client:
                self.core.receive_data(self.take_some())
            elif not self.advance(messages) and self.is_done(messages):
                self.core.quit()
            self.exchange()

    def is_done(self, messages: int) -> bool:
        return len(self.begun) == messages and not self.core.transactions and self.core.state is State.READY

    def advance(self, messages: int) -> bool:
        """Do the next thing that a caller does, if there is one."""
        if next(self.plan, 0) is None:
            return True
        if len(self.begun) == messages or not self.core.can_begin:
            return False
        self.plan = self.make_plan(len(self.begun))
        return True

    def make_plan(self, number: int) -> Iterator[None]:
        recipients = tuple(Recipient(f"r{number}.{index}@b.example") for index in range(self.chance.randint(1, 3)))
        pieces = [b".%d piece\r\n" % index * self.chance.randint(1, 3) for index in range(self.chance.randint(0, 4))]
        transaction = self.core.begin(Envelope(f"s{number}@a.example", recipients))
        self.begun.append((transaction, b"".join(pieces)))
        if self.chance.random() < 0.5:
            yield
        for piece in pieces[:-1]:
            transaction.send(piece)
            if self.chance.random() < 0.5:
                yield
        if self.chance.random() < 0.1:
            transaction.abandon("chance")
        else:
            transaction.send(pieces[-1] if pieces else b"", last=True)

    def take_some(self) -> bytes:
        data = self.to_client.popleft()
        size = self.chance.choice((1, 2, len(data)))
        if data[size:]:
            self.to_client.appendleft(data[size:])
        return data[:size]

    def exchange(self) -> None:
        for data in self.core.data_to_send():
            cut = self.chance.randint(0, len(data))
            for part in (data[:cut], data[cut:]):
                self.to_client.extend(self.peer.receive(part))
        self.events += self.core.events()

    def outcomes(self) -> list[tuple[int, Outcome]]:
        numbers = {id(transaction): number for number, (transaction, _) in enumerate(self.begun)}
        return [(numbers[id(event.transaction)], event.outcome) for event in self.events if isinstance(event, Ended)]

    def taken(self, number: int) -> tuple[tuple[str, ...], bytes] | None:
        found = [message for message in self.peer.accepted if message.sender == f"s{number}@a.example"]
        assert len(found) <= 1
        return (found[0].recipients, found[0].content) if found else None


@given(st.randoms(use_true_random=False), st.sampled_from(EXTENSIONS), st.integers(1, 8))
def test_outcomes_are_what_the_peer_did(chance: random.Random, extensions: tuple[str, ...], messages: int) -> None:
    play = Play(chance, extensions)
    play.run(messages)
    outcomes = play.outcomes()
    assert sorted(number for number, _ in outcomes) == list(range(len(play.begun)))
    answered = [number for number, outcome in outcomes if outcome.ending is Ending.ANSWERED]
    assert answered == sorted(answered)
    for number, outcome in outcomes:
        if outcome.ending is Ending.LOST:  # after a message was given up in the middle of DATA
            assert "CHUNKING" not in extensions
            continue
        content = play.begun[number][1]
        delivered = tuple(
            f"r{number}.{index}@b.example" for index in range(len(outcome.recipients)) if outcome.is_delivered_to(index)
        )
        assert play.taken(number) == ((delivered, content) if delivered else None)
        # No 503 for the sender: that would be a leftover of the message in front.
        assert outcome.mail is None or outcome.mail.code in {250, 451}
    assert sum(isinstance(event, Closed) for event in play.events) == 1


@given(
    st.randoms(use_true_random=False),
    st.sampled_from(EXTENSIONS),
    st.integers(1, 5),
    st.integers(min_value=1, max_value=80),
)
def test_no_duplicate_comes_unforeseen(
    chance: random.Random, extensions: tuple[str, ...], messages: int, break_after: int
) -> None:
    play = Play(chance, extensions)
    play.run(messages, break_after)
    outcomes = play.outcomes()
    assert len(outcomes) == len(play.begun)
    for number, outcome in outcomes:
        if outcome.is_delivered:
            assert play.taken(number)
        elif play.taken(number):
            assert outcome.may_have_been_accepted


@given(
    st.randoms(use_true_random=False),
    st.sampled_from(EXTENSIONS),
    st.sampled_from([b"250 one too many\r\n", b"junk\r\n", b"421 bye\r\n", b"x" * MAX_LINE_LENGTH, b"354 go\r\n"]),
    st.integers(min_value=0, max_value=60),
)
def test_a_fault_ends_the_session_once(
    chance: random.Random, extensions: tuple[str, ...], fault: bytes, where: int
) -> None:
    play = Play(chance, extensions)
    play.peer.is_strict = False
    taking = play.take_some
    takes = 0

    def take_some() -> bytes:
        nonlocal takes
        takes += 1
        return fault if takes == where else taking()

    play.take_some = take_some  # type: ignore[method-assign]
    play.run(4, break_after=500)
    assert sum(isinstance(event, Closed) for event in play.events) <= 1
    for _, outcome in play.outcomes():
        if outcome.is_delivered:
            assert outcome.final is not None
            assert outcome.final.is_positive


@given(st.binary(max_size=300), st.randoms(use_true_random=False))
def test_reply_parser_takes_anything_in_any_pieces(data: bytes, chance: random.Random) -> None:
    """It gives replies or refuses, and the pieces make no difference."""

    def parse(pieces: list[bytes]) -> list[str]:
        parser, found = ReplyParser(), []
        try:
            for piece in pieces:
                parser.feed(piece)
                while reply := parser.next_reply():
                    found.append(str(reply))
        except ReplySyntaxError:
            found.append("refused")
        return found

    cuts = sorted(chance.randint(0, len(data)) for _ in range(5))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert parse([data]) == parse(pieces)
