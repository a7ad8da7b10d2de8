"""The order of commands and replies: what may leave now, and whose reply comes next (RFC 2920).

Pipelined and lock-step dialogs are the same here: commands wait in a queue, and leave as soon as the peer may get
them. With PIPELINING that is at once, but for the command after one that must end its group; without, when no reply
is due.
"""

from collections import deque
from enum import Enum
from typing import Protocol

from msgspec import Struct

from onionmx.smtp.client.states import Early
from onionmx.smtp.reply import Reply

_JOIN_BELOW = 65536
"""Bytes: smaller pieces are copied together so that a flight leaves as one packet; larger ones are not copied."""


class Stage(Enum):
    """What is sent, and so what a reply is the reply to; `GREETING` is waited for only, `CONTENT` has no reply."""

    GREETING = "greeting"
    EHLO = "EHLO"
    HELO = "HELO"
    STARTTLS = "STARTTLS"
    ASK = "BDAT outside of a transaction"
    RSET = "RSET"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "content"
    CHUNK = "BDAT"
    END = "end of message"
    QUIT = "QUIT"


ENDS_GROUP = frozenset(
    {Stage.GREETING, Stage.EHLO, Stage.HELO, Stage.STARTTLS, Stage.DATA, Stage.QUIT},
)
"""Nothing may follow these before their reply: RFC 2920 section 3.1, RFC 3207 section 4 for STARTTLS."""

_NOT_FOLLOWED = {
    Early.NOTHING: ENDS_GROUP,
    Early.AFTER_GREETING: ENDS_GROUP - {Stage.EHLO},
    Early.AT_ONCE: ENDS_GROUP - {Stage.GREETING, Stage.EHLO},
}
"""Commands that nothing may follow before their reply."""


class Owner(Protocol):
    """Who sent a command and gets its reply."""

    def on_sent(self, command: "Command") -> None:
        """The command left the queue."""

    def on_reply(self, command: "Command", reply: Reply) -> None:
        """The peer answered."""


class Command(Struct, eq=False):
    """One command, or a piece of content.

    Attributes:
        stage: what it is.
        parts: bytes on the wire; released when they have left.
        owner: who gets the reply, `None` for the session itself.
        index: which recipient, for RCPT.
        content: bytes of the message in `parts`.
        flight: number of round trips that were complete when it left.
        start: its place in the output, once it has left the queue.
        end: the place behind it.
    """

    stage: Stage
    parts: tuple[bytes, ...] = ()
    owner: Owner | None = None
    index: int = 0
    content: int = 0
    flight: int = 0
    start: int = 0
    end: int = 0


class Pipeline:
    """Queue of commands and list of replies due.

    Args:
        early: what does not wait for greeting and EHLO.

    Attributes:
        pipelining: whether the peer offers it.
        round_trips: how often a reply had to be waited for before something else could be sent or concluded.
            The greeting is not counted: it comes along with the connection.
        replies: how many were taken, the greeting included.
        queued: bytes put into the output, from the start of the session; a place in it is a number of bytes.
        unwritten: bytes of the output that the shell has taken and the connection has not; the shell keeps it right.
    """

    def __init__(self, early: Early = Early.NOTHING) -> None:
        self.pipelining = early is not Early.NOTHING
        self.round_trips = 0
        self.replies = 0
        self.queued = 0
        self.unwritten = 0
        self._not_followed = _NOT_FOLLOWED[early]
        self._given_out = 0
        self._waiting: deque[Command] = deque()
        self._due: deque[Command] = deque([Command(Stage.GREETING)])
        self._output: list[bytes] = []

    @property
    def oldest(self) -> Stage | None:
        """What the next reply is the reply to, `None` if none is due."""
        return self._due[0].stage if self._due else None

    @property
    def left(self) -> int:
        """The place in the output up to which bytes have left for the peer."""
        return self._given_out - self.unwritten

    def push(self, command: Command, *, first: bool = False) -> None:
        """Queue a command, and send it if it may leave.

        Args:
            command: what to send.
            first: before all that waits, for what belongs to the command that was just answered.
        """
        if first:
            self._waiting.appendleft(command)
        else:
            self._waiting.append(command)
        self.pump()

    def pump(self) -> None:
        """Send what may leave by now."""
        while self._waiting and self._may_leave():
            command = self._waiting.popleft()
            command.start = self.queued
            self._output.extend(command.parts)
            self.queued += sum(map(len, command.parts))
            command.flight = self.round_trips
            command.end = self.queued
            if command.stage is not Stage.CONTENT:
                self._due.append(command)
            if command.owner:
                command.owner.on_sent(command)
            command.parts = ()

    def settle(self) -> Command | None:
        """A reply came: the command that it answers, `None` if none was due. Call `pump` once the reply was judged."""
        if not self._due:
            return None
        self.replies += 1
        command = self._due.popleft()
        # Each command that left after the last counted reply waited one round trip more; its group waited with it.
        if command.flight == self.round_trips and command.stage is not Stage.GREETING:
            self.round_trips += 1
        return command

    def withdraw(self, owner: Owner) -> list[Command]:
        """Take back what of this owner has not left yet."""
        taken = [command for command in self._waiting if command.owner is owner]
        self._waiting = deque(command for command in self._waiting if command.owner is not owner)
        return taken

    def take_output(self) -> list[bytes]:
        """The bytes to send, in order, small ones joined."""
        self._given_out = self.queued
        pieces: list[bytes] = []
        small: list[bytes] = []
        for piece in self._output:
            if len(piece) < _JOIN_BELOW:
                small.append(piece)
                continue
            if small:
                pieces.append(b"".join(small))
                small = []
            pieces.append(piece)
        if small:
            pieces.append(b"".join(small))
        self._output = []
        return pieces

    def clear(self) -> None:
        """Forget everything: the session is over."""
        self._waiting.clear()
        self._due.clear()
        self._output.clear()

    def _may_leave(self) -> bool:
        return not self._due or (self.pipelining and self._due[-1].stage not in self._not_followed)
