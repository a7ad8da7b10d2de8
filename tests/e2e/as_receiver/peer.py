"""A mail server behind an onion service, as the proof needs to know it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .announced import Row, read_row

USERS = tuple(f"user{number:02}" for number in range(20))
"""Local parts with a mailbox at every peer."""
UNKNOWN = "nobody"
"""What local parts begin with that no peer knows."""
GUESSES = 30
"""Unknown recipients in a row: more than most servers allow in a session."""


@dataclass(frozen=True)
class Copy:
    """A message in a mailbox.

    Args:
        user: whose: the local part.
        content: with headers of the peer on top; the line ends may be LF.
    """

    user: str
    content: bytes

    @property
    def text(self) -> bytes:
        """Its content with CRLF."""
        return re.sub(rb"\r?\n", b"\r\n", self.content)


@dataclass(frozen=True)
class Peer:
    """A real mail server that runs.

    Args:
        program: as it is called in the table of docs/peers.md.
        version: as it names itself.
        onion: its onion service; port 25 leads to it.
        domain: for which it takes mail, for `USERS` and nobody whose name begins with `UNKNOWN`.
        copies: reads all that is in the mailboxes of `USERS`.
        has_certificate: whether it can do STARTTLS, where the test has set something else than the table says.
        deferred: a local part to which it says 4xx, empty for none.
        size: bytes that it takes, where the test has set something else than the table says.
        messages: that it takes in a session, where the test has set something else.
        most: messages that are sent in a row.
        guesses: unknown recipients in a row.
    """

    program: str
    version: str
    onion: str
    domain: str
    copies: Callable[[], Sequence[Copy]]
    has_certificate: bool | None = None
    deferred: str = ""
    size: int | None = None
    messages: int | None = None
    most: int = 240
    guesses: int = GUESSES

    @property
    def row(self) -> Row:
        """What the table says of it."""
        return read_row(self.program, self.version)

    @property
    def can_start_tls(self) -> bool:
        """Whether it announces STARTTLS."""
        return self.row.flags["STARTTLS"] if self.has_certificate is None else self.has_certificate

    @property
    def size_limit(self) -> int | None:
        """Bytes that it takes; 0 for no limit, `None` where it announces no SIZE."""
        return self.row.size if self.size is None else self.size

    @property
    def session_limit(self) -> int | None:
        """Messages that it takes in a session."""
        return self.row.messages if self.messages is None else self.messages

    def address(self, local_part: str) -> str:
        """An address at its domain."""
        return f"{local_part}@{self.domain}"
