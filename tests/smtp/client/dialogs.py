"""Dialogs as text, played with the core and a peer that only knows its lines.

Lines of a dialog:

    < 250 OK            the peer sends this line
    > RCPT TO:<b@b.bb>  the client must send this line
    ! message           the test does this, see `ACTS`
    = 250               the next transaction that ended has these codes: MAIL, each RCPT, final; `-` for no reply
    # remark

Content is written as lines too: what comes after BDAT or 354 is compared like commands.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from onionmx.smtp.client.core import ClientConnection
from onionmx.smtp.client.events import Ended, Event
from onionmx.smtp.client.outcome import Outcome
from onionmx.smtp.client.states import TlsPolicy
from onionmx.smtp.client.transaction import ClientTransaction
from onionmx.smtp.envelope import Envelope, Recipient

BOTH = (Recipient("b@b.example"), Recipient("c@b.example"))
ONE = (Recipient("b@b.example"),)
ENVELOPE = Envelope("a@a.example", ONE)
TO_TWO = Envelope("a@a.example", BOTH)
MESSAGE = b"hi\r\n"

Feed = Callable[[bytes], Iterator[bytes]]
"""Cuts what the peer sends into pieces."""


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def bytewise(data: bytes) -> Iterator[bytes]:
    for index in range(len(data)):
        yield data[index : index + 1]


FEEDS = {"whole": whole, "bytewise": bytewise}


@dataclass
class Player:
    """Plays a dialog against a core and keeps what happened."""

    tls: TlsPolicy = TlsPolicy.NEVER
    feed: Feed = whole
    connection: ClientConnection = field(init=False)
    events: list[Event] = field(default_factory=list)
    begun: list[ClientTransaction] = field(default_factory=list)
    sent: bytes = b""

    def __post_init__(self) -> None:
        self.connection = ClientConnection("client.example", self.tls)

    @property
    def outcomes(self) -> list[Outcome]:
        return [event.outcome for event in self.events if isinstance(event, Ended)]

    def play(self, dialog: str) -> None:
        checked = len(self.outcomes)
        lines = [line.strip() for line in dialog.strip().splitlines()]
        pending = b""
        for line in lines:
            mark, _, text = line.partition(" ")
            if mark == "<":
                pending += text.encode() + b"\r\n"
                continue
            self.receive(pending)
            pending = b""
            match mark:
                case ">":
                    expected = text.encode() + b"\r\n"
                    assert self.sent.startswith(expected), f"{line}: sent {self.sent!r}"
                    self.sent = self.sent[len(expected) :]
                case "!":
                    self.act(text)
                case "=":
                    assert codes(self.outcomes[checked]) == text, f"{line}: {self.outcomes[checked]}"
                    checked += 1
                case "#" | "":
                    pass
                case _:
                    raise AssertionError(line)
        self.receive(pending)

    def receive(self, data: bytes) -> None:
        # The peer speaks only when the client has said what the dialog says.
        if data:
            assert self.sent == b"", f"sent too early: {self.sent!r}"
            for piece in self.feed(data):
                self.connection.receive_data(piece)
                self.flush()

    def flush(self) -> None:
        self.sent += b"".join(self.connection.data_to_send())
        self.events += self.connection.events()

    def act(self, text: str) -> None:
        ACTS[text](self)
        self.flush()


def codes(outcome: Outcome) -> str:
    replies = [outcome.mail, *outcome.recipients, outcome.final]
    return " ".join("-" if reply is None else str(reply.code) for reply in replies)


def _message(player: Player) -> None:
    _begin(player)
    player.begun[-1].send(MESSAGE, last=True)


def _to_two(player: Player) -> None:
    player.begun.append(player.connection.begin(TO_TWO))
    player.begun[-1].send(MESSAGE, last=True)


def _begin(player: Player) -> None:
    player.begun.append(player.connection.begin(ENVELOPE))


def _bare(player: Player) -> None:
    player.begun.append(player.connection.begin(Envelope("a@a.example")))


ACTS: dict[str, Callable[[Player], object]] = {
    "message": _message,
    "message to two": _to_two,
    "begin": _begin,
    "begin without recipients": _bare,
    "add b": lambda player: player.begun[-1].add_recipient(BOTH[0]),
    "add c": lambda player: player.begun[-1].add_recipient(BOTH[1]),
    "send one": lambda player: player.begun[-1].send(b"one\r\n"),
    "send .two": lambda player: player.begun[-1].send(b".two\r\n"),
    "send last": lambda player: player.begun[-1].send(b"last\r\n", last=True),
    "send end": lambda player: player.begun[-1].send(b"", last=True),
    "abandon": lambda player: player.begun[-1].abandon("given up"),
    "quit": lambda player: player.connection.quit(),
    "start tls": lambda player: player.connection.start_tls(),
    "tls started": lambda player: player.connection.tls_started(),
    "eof": lambda player: player.connection.receive_eof(),
}

OPENING = """
< 220 peer.example ESMTP
> EHLO client.example
"""


def opening(*extensions: str) -> str:
    """The lines up to the point where mail is taken."""
    *others, last = ("peer.example", *extensions)
    return OPENING + "".join(f"< 250-{line}\n" for line in others) + f"< 250 {last}\n"


FLIGHT = opening("PIPELINING", "CHUNKING", "8BITMIME", "SIZE 1000")
PIPELINED_DATA = opening("PIPELINING")
LOCK_STEP_CHUNKS = opening("CHUNKING")
LOCK_STEP = opening()

DIALOGS: dict[str, str] = {
    "one flight": FLIGHT
    + """
        ! message
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > BDAT 4 LAST
        > hi
        < 250 2.1.0 OK
        < 250 2.1.5 OK
        < 250 2.0.0 queued
        = 250 250 250
        ! quit
        > QUIT
        < 221 bye
    """,
    "any 2xx is success": FLIGHT
    + """
        ! message
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > BDAT 4 LAST
        > hi
        < 299 fine
        < 251 will forward
        < 252 whatever
        = 299 251 252
    """,
    "one flight, one of two recipients": FLIGHT
    + """
        ! message to two
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > RCPT TO:<c@b.example>
        > BDAT 4 LAST
        > hi
        < 250 OK
        < 550-5.1.1 no
        < 550 5.1.1 such user
        < 250 OK
        < 250 OK
        = 250 550 250 250
    """,
    "one flight, no recipient": FLIGHT
    + """
        ! message to two
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > RCPT TO:<c@b.example>
        > BDAT 4 LAST
        > hi
        < 250 OK
        < 550 no
        < 450 later
        < 503 no valid recipients
        = 250 550 450 503
        > RSET
        < 250 OK
        ! message
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > BDAT 4 LAST
        > hi
        < 250 OK
        < 250 OK
        < 250 OK
        = 250 250 250
    """,
    "one flight, sender refused": FLIGHT
    + """
        ! message
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > BDAT 4 LAST
        > hi
        < 550 not you
        < 503 need MAIL
        < 503 need RCPT
        = 550 503 503
        # Nothing is open at the peer, so no RSET.
        ! quit
        > QUIT
        < 221 bye
    """,
    "stream in chunks": FLIGHT
    + """
        ! begin
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        ! send one
        > BDAT 5
        > one
        < 250 OK
        < 250 OK
        < 250 5 octets
        ! send .two
        > BDAT 6
        > .two
        ! send end
        > BDAT 0 LAST
        < 250 6 octets
        < 250 queued
        = 250 250 250
    """,
    "chunk refused in the middle": FLIGHT
    + """
        ! begin
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        ! send one
        > BDAT 5
        > one
        ! send .two
        > BDAT 6
        > .two
        < 250 OK
        < 250 OK
        < 552 5.3.4 too much
        ! send last
        < 503 nothing more
        = 250 250 552
        > RSET
        < 250 OK
        ! message
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > BDAT 4 LAST
        > hi
        < 250 OK
        < 250 OK
        < 250 OK
        = 250 250 250
    """,
    "two messages in flight": FLIGHT
    + """
        ! message
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > BDAT 4 LAST
        > hi
        ! message to two
        > RSET
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > RCPT TO:<c@b.example>
        > BDAT 4 LAST
        > hi
        < 250 OK
        < 550 no
        < 503 no recipients
        < 250 reset
        = 250 550 503
        < 250 OK
        < 250 OK
        < 251 OK
        < 250 OK
        = 250 250 251 250
    """,
    "pipelined DATA": PIPELINED_DATA
    + """
        ! begin
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        ! send .two
        > DATA
        < 250 OK
        < 250 OK
        < 354 go
        > ..two
        ! send last
        > last
        > .
        < 250 OK
        = 250 250 250
    """,
    "pipelined DATA without recipients": PIPELINED_DATA
    + """
        ! message
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > DATA
        < 250 OK
        < 550 no
        < 354 go
        > .
        < 554 no valid recipients
        = 250 550 554
        ! quit
        > QUIT
        < 221 bye
    """,
    "pipelined DATA refused": PIPELINED_DATA
    + """
        ! message
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > DATA
        < 250 OK
        < 550 no
        < 554 no valid recipients
        = 250 550 554
        > RSET
        < 250 OK
    """,
    "pipelined DATA with the sender refused": PIPELINED_DATA
    + """
        ! message
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > DATA
        < 450 later
        < 503 no
        < 503 no
        = 450 503 503
        ! message
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > DATA
        < 250 OK
        < 250 OK
        < 354 go
        > hi
        > .
        < 450 disk full
        = 250 250 450
        # The dot clears the transaction, whatever is said to it.
        ! quit
        > QUIT
        < 221 bye
    """,
    "lock-step with chunks": LOCK_STEP_CHUNKS
    + """
        ! message to two
        > MAIL FROM:<a@a.example>
        < 250 OK
        > RCPT TO:<b@b.example>
        < 550 no
        > RCPT TO:<c@b.example>
        < 250 OK
        > BDAT 4 LAST
        > hi
        < 250 OK
        = 250 550 250 250
    """,
    "lock-step with DATA": LOCK_STEP
    + """
        ! message
        > MAIL FROM:<a@a.example>
        < 250 OK
        > RCPT TO:<b@b.example>
        < 250 OK
        > DATA
        < 354 go
        > hi
        > .
        < 250 OK
        = 250 250 250
    """,
    "lock-step, sender refused": LOCK_STEP
    + """
        ! message
        > MAIL FROM:<a@a.example>
        < 550 no
        = 550 - -
    """,
    "lock-step, no recipient": LOCK_STEP
    + """
        ! message
        > MAIL FROM:<a@a.example>
        < 250 OK
        > RCPT TO:<b@b.example>
        < 550 no
        = 250 550 -
        > RSET
        ! message
        < 250 OK
        > MAIL FROM:<a@a.example>
        < 250 OK
        > RCPT TO:<b@b.example>
        < 250 OK
        > DATA
        < 354 go
        > hi
        > .
        < 250 OK
        = 250 250 250
    """,
    "recipients one at a time": FLIGHT
    + """
        ! begin without recipients
        > MAIL FROM:<a@a.example>
        ! add b
        > RCPT TO:<b@b.example>
        < 250 OK
        < 550 no
        ! add c
        > RCPT TO:<c@b.example>
        < 250 OK
        ! send last
        > BDAT 6 LAST
        > last
        < 250 OK
        = 250 550 250 250
    """,
    "given up after the recipients": FLIGHT
    + """
        ! begin
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        < 250 OK
        < 250 OK
        ! abandon
        > RSET
        = 250 250 -
        ! message
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > BDAT 4 LAST
        > hi
        < 250 reset
        < 250 OK
        < 250 OK
        < 250 OK
        = 250 250 250
    """,
    "given up among the chunks": FLIGHT
    + """
        ! begin
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        ! send one
        > BDAT 5
        > one
        ! abandon
        > RSET
        = - - -
        < 250 OK
        < 250 OK
        < 250 OK
        < 250 reset
        ! quit
        > QUIT
        < 221 bye
    """,
    "HELO": """
        < 220-a greeting
        < 220 in two lines
        > EHLO client.example
        < 502 what?
        > HELO client.example
        < 250 PIPELINING
        ! message
        > MAIL FROM:<a@a.example>
        < 250 OK
        > RCPT TO:<b@b.example>
        < 250 OK
        > DATA
        < 354 go
        > hi
        > .
        < 250 OK
        = 250 250 250
    """,
    "TLS on demand": opening("STARTTLS", "PIPELINING", "CHUNKING")
    + """
        ! message
        > MAIL FROM:<a@a.example>
        > RCPT TO:<b@b.example>
        > BDAT 4 LAST
        > hi
        < 530 5.7.0 Must issue a STARTTLS command first
        < 503 no
        < 503 no
        = 530 503 503
        ! start tls
        > STARTTLS
        < 220 go
        ! tls started
        > EHLO client.example
        < 250-peer.example
        < 250 CHUNKING
        ! message
        > MAIL FROM:<a@a.example>
        < 250 OK
        > RCPT TO:<b@b.example>
        < 250 OK
        > BDAT 4 LAST
        > hi
        < 250 OK
        = 250 250 250
    """,
}
