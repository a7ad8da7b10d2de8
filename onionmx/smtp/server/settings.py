"""Limits and habits of the server, each with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

Network = IPv4Network | IPv6Network
BareNewline = Literal["reject", "normalize"]

MAX_COMMAND_LENGTH = 8192
"""Octets of a command line with its CRLF. RFC 5321 section 4.5.3.1.4 asks for 512; SIZE, BODY and SMTPUTF8 add 53 to
MAIL, DSN adds 120 to MAIL and 500 to RCPT (RFC 3461 section 4). Postfix writes up to 2048 and Exim more: what is longer
than this was never meant as a command, and anything below gets an answer that suits it."""

MAX_BAD_COMMANDS = 20
"""Lines without a command we know, in one transaction, before the session is closed: as Postfix's hard error limit.
A client that sends more is not an MTA, or is out of step with us and sends content as commands."""

READ_SIZE = 64 * 1024
"""Octets read at once, and the most that waits for a delivery: a session holds a few of these, never a message."""

REPLY_DELAY = 0.1
"""Seconds that the reply to one command of a pipelined group waits for those of the others, so that they leave
together (RFC 2920 section 3.2) while a slow delivery holds nothing back."""

LINGER = 2.0
"""Seconds to read on after we closed a session by ourselves: closing with input unread would reset the connection,
and the client would lose the reply that says why."""

MAX_LINGERING = 100
"""Sessions that do so at the same time: each has a descriptor, and anybody may open them as fast as he can."""

FULL_TOLD_EVERY = 60.0
"""Seconds between two lines in the log that say that there are too many connections."""

BACKLOG = 1024
"""Connections that the kernel holds until they are accepted: a flushed queue opens hundreds at once."""

LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What an operator may choose.

    Attributes:
        hostname: what the greeting and EHLO say. Not the MTA's own name, which Postfix would take for a mail loop.
        clients: networks that may connect by TCP; unix sockets are open to whom their mode lets in. Never the world:
            the relay takes any recipient.
        max_connections: open at the same time; for the next one another is closed, or it gets 421 (see
            `onionmx.net.room`). Each takes two file descriptors with the session behind it.
        max_message_size: octets, announced as SIZE (RFC 1870), before any Received header is added.
        max_recipients: accepted in one transaction; RFC 5321 section 4.5.3.1.8 asks for at least 100.
        idle_timeout: seconds without input from the client while we wait for it; RFC 5321 section 4.5.3.2.7 asks for
            at least 300. A delivery at work is not idle.
        bare_newline: `reject` refuses a message with a CR or LF that is not part of CRLF, and a command that ends in LF
            alone; `normalize` takes each for a CRLF.
    """

    hostname: str = "onionmx.localhost"
    clients: tuple[Network, ...] = LOOPBACK
    max_connections: int = 1000
    max_message_size: int = 100 * 1024 * 1024
    max_recipients: int = 1000
    idle_timeout: float = 900.0
    bare_newline: BareNewline = "reject"
