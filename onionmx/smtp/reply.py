"""SMTP replies as values, and all those that onionmx itself gives (RFC 5321 section 4.2, RFC 3463).

A reply of an onion MX passes through the relay unchanged but for `FROM_PEER` in front of its text; what the relay
itself says is here, each with an enhanced code of its own.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from onionmx.text import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable

FROM_PEER = "onion-mx said: "
MAX_TEXT_LENGTH = 400
"""Characters of text in one line of a reply that we write; RFC 5321 section 4.5.3.1.5 allows 512 octets in all."""


class Reply(Struct, frozen=True):
    """A reply to an SMTP or LMTP command.

    Attributes:
        code: 200 to 599.
        enhanced: status code of RFC 3463, such as `4.4.1`, or empty.
        lines: text, without codes and line ends; at least one, which may be empty.
    """

    code: int
    enhanced: str = ""
    lines: tuple[str, ...] = ("",)

    @property
    def is_positive(self) -> bool:
        """Any 2xx: a 251 to RCPT is an acceptance like a 250."""
        return 200 <= self.code < 300  # noqa: PLR2004 -- RFC 5321 section 4.2.1

    @property
    def is_intermediate(self) -> bool:
        """Any 3xx: the command goes on."""
        return 300 <= self.code < 400  # noqa: PLR2004

    @property
    def is_transient(self) -> bool:
        """Any 4xx: the client may try again later."""
        return 400 <= self.code < 500  # noqa: PLR2004

    @property
    def is_permanent(self) -> bool:
        """Any 5xx: the client must not try again."""
        return 500 <= self.code < 600  # noqa: PLR2004

    @property
    def text(self) -> str:
        """All lines as one, for logs."""
        return " ".join(line for line in self.lines if line)

    def with_text(self, text: str) -> Reply:
        """The same codes with another text; control characters, of which a line end would be one, are escaped."""
        return replace(self, lines=(escaped(text)[:MAX_TEXT_LENGTH],))

    def passed_through(self) -> Reply:
        """The reply as the relay gives it on: codes unchanged, who said it in front; a long line is split."""
        return replace(self, lines=_split((FROM_PEER + self.lines[0], *self.lines[1:])))

    def in_ascii(self) -> Reply:
        """The reply for a client that has not asked for SMTPUTF8, and hears nothing else (RFC 6531 section 3.7.4)."""
        if all(map(str.isascii, self.lines)):
            return self
        return replace(self, lines=_split(line.encode("ascii", "backslashreplace").decode() for line in self.lines))

    def to_bytes(self) -> bytes:
        """The reply on the wire, each line ended by CRLF."""
        prefix = f"{self.enhanced} " if self.enhanced else ""
        *others, last = self.lines
        text = "".join(f"{self.code}-{prefix}{line}\r\n" for line in others) + f"{self.code} {prefix}{last}\r\n"
        return text.encode("utf-8", "surrogateescape")

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)


def _split(lines: Iterable[str]) -> tuple[str, ...]:
    places = [(line, range(0, max(len(line), 1), MAX_TEXT_LENGTH)) for line in lines]
    return tuple(line[at : at + MAX_TEXT_LENGTH] for line, starts in places for at in starts)


class OurReply(Enum):
    """What onionmx itself answers; `OurReply.NO_ROUTE.value.with_text(...)` adds the cause in words."""

    DELIVERED = Reply(250, "2.0.0", ("OK",))
    SENDER_OK = Reply(250, "2.1.0", ("OK",))
    RECIPIENT_OK = Reply(250, "2.1.5", ("OK",))
    NO_ROUTE = Reply(451, "4.4.4", ("no route over Tor for this domain",))
    NO_ROUTE_REJECTED = Reply(550, "5.4.4", ("no route over Tor for this domain",))
    ROUTE_UNKNOWN = Reply(451, "4.4.3", ("the route could not be determined",))
    UNREACHABLE = Reply(451, "4.4.1", ("the onion MX cannot be reached",))
    NO_SUCH_ONION = Reply(550, "5.1.2", ("no onion service can have this name",))
    BAD_ONION = Reply(550, "5.4.4", ("the address of the onion MX is not valid",))
    ONION_AUTHORIZATION = Reply(451, "4.7.0", ("the onion service asks for a client authorization",))
    RELEASED = Reply(451, "4.4.1", ("released after a long failure: the next try goes over the open internet",))
    CONNECTION_LOST = Reply(451, "4.4.2", ("connection lost before the final reply",))
    OTHER_ROUTE = Reply(452, "4.5.3", ("this recipient has another route: send it in another transaction",))
    AFTER_OTHERS = Reply(452, "4.5.3", ("send this recipient in another transaction: others have waited for it",))
    SEPARATELY = Reply(452, "4.5.3", ("send this recipient in another transaction: the one before was refused",))
    NO_8BITMIME = Reply(554, "5.6.3", ("the onion MX does not take 8-bit messages",))
    NO_SMTPUTF8 = Reply(553, "5.6.7", ("the onion MX does not take internationalized addresses",))
    TOO_LARGE = Reply(552, "5.3.4", ("the message is larger than the onion MX takes",))
    BARE_NEWLINE = Reply(554, "5.6.0", ("bare CR or LF in the message",))
    LOOP = Reply(554, "5.4.6", ("mail loop detected: too many Received headers",))
    TLS_REQUIRED = Reply(451, "4.7.5", ("the onion MX cannot be used without TLS",))
    NOT_PROVEN = Reply(451, "4.7.5", ("the onion MX does not show a certificate that the domain's policy accepts",))
    PROOF_UNKNOWN = Reply(451, "4.7.5", ("it could not be determined what the domain demands of its onion MX",))
    INTERNAL = Reply(451, "4.3.0", ("internal error",))

    # What the server says of the dialog itself.
    CLOSING = Reply(221, "2.0.0", ("closing the session",))
    RESET = Reply(250, "2.0.0", ("no transaction is open",))
    HELP = Reply(214, "2.0.0", ("see RFC 5321 and RFC 2033",))
    NOT_VERIFIED = Reply(252, "2.0.0", ("not verified, but a message to it will be tried",))
    SHUTTING_DOWN = Reply(421, "4.3.2", ("the relay is shutting down",))
    TOO_MANY_CONNECTIONS = Reply(421, "4.3.2", ("too many connections",))
    MAKING_ROOM = Reply(421, "4.3.2", ("too many connections, and this one was waited for longest",))
    IDLE = Reply(421, "4.4.2", ("nothing was sent for too long",))
    CLIENT_REFUSED = Reply(421, "4.7.1", ("relay.clients does not name this client",))
    CIRCUIT_LIMIT = Reply(421, "4.7.0", ("too much comes by this circuit, try again later",))
    NOT_AN_MTA = Reply(421, "4.7.0", ("this is a mail relay for the local MTA",))
    SENDER_NOT_CARRIED = Reply(451, "4.1.7", ("the sender cannot be sent on",))
    RECIPIENT_NOT_CARRIED = Reply(451, "4.1.3", ("the recipient cannot be sent on",))
    TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", ("too many recipients: send the others in another transaction",))
    BAD_LINE = Reply(500, "5.5.2", ("not a command line",))
    UNKNOWN_COMMAND = Reply(500, "5.5.1", ("unknown command",))
    BAD_ARGUMENTS = Reply(501, "5.5.4", ("malformed arguments",))
    BAD_SENDER = Reply(501, "5.1.7", ("malformed sender",))
    BAD_RECIPIENT = Reply(501, "5.1.3", ("malformed recipient",))
    NOT_IMPLEMENTED = Reply(502, "5.5.1", ("command not implemented",))
    BAD_SEQUENCE = Reply(503, "5.5.1", ("this command does not belong here",))
    UNKNOWN_PARAMETER = Reply(555, "5.5.4", ("parameter not implemented",))
