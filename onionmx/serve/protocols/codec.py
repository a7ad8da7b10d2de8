"""What the languages of the MTAs have in common: bytes in, requests out; answers in, bytes out. No I/O.

A parser never raises: what a client should not have sent is a `ProtocolFault`, and the connection says so or ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

SHORT = 512
"""Bytes of what arrives at once that are looked at as a whole; addresses have at most 254 (RFC 5321 section 4.5.3.1.3).
"""
REMEMBERED = 16_384
"""Of these, how many a language remembers with the domain in them: most mail goes to whom mail went before."""

Request = TypeVar("Request")
RequestOut_co = TypeVar("RequestOut_co", covariant=True)


class LookupResult(StrEnum):
    """What a request came to; the label `answer` of the metrics."""

    FOUND = "found"
    NONE = "none"
    """It is known that there is no route, or the key names no domain."""
    TEMPORARY = "temporary"
    """Could not tell."""
    TIMEOUT = "timeout"
    """Could not tell within `serve.timeout`."""
    PERMANENT = "permanent"
    """Mail is refused for good, as there is no route and nobody else may be asked: an impossible .onion address. Or the
    request was none.
    """


@dataclass(frozen=True, slots=True)
class ProtocolFault:
    """A piece of input that is no request.

    Attributes:
        reason: what is wrong with it.
        is_fatal: where the next request begins cannot be told; the connection ends.
    """

    reason: str
    is_fatal: bool


class Parser(Protocol[RequestOut_co]):
    """Cuts what arrives on one connection into requests.

    Attributes:
        is_empty: nothing that has arrived is left.
    """

    is_empty: bool

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""

    def next_request(self) -> RequestOut_co | ProtocolFault | None:
        """The next whole request, a fault, or `None` until more has arrived. Not to be called after a fatal fault."""

    def end(self) -> RequestOut_co | ProtocolFault | None:
        """What is left when the client has sent everything; `None` for nothing."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[Request]):
    """How requests are read and answers written.

    Attributes:
        name: of the protocol, for metrics and listeners.
        parser: makes the parser of a connection.
        found: writes a result.
        failed: writes that there is none, with the reason; the outcome is none of `FOUND` and `NONE`.
        none: writes "not found".
        refused: writes that mail is to be refused for good, with the reason.
        malformed: writes that a request was none.
        sole_domain: the domain, as the client has written it, that at most `SHORT` bytes ask about which are exactly
            one request; `None` where only the parser can tell.
        one_exchange: the connection ends when everything that has arrived is answered.
    """

    name: str
    parser: Callable[[], Parser[Request]]
    found: Callable[[bytes], bytes]
    failed: Callable[[LookupResult, str], bytes]
    none: Callable[[str], bytes]
    refused: Callable[[str], bytes]
    malformed: Callable[[str], bytes]
    sole_domain: Callable[[bytes], bytes | None]
    one_exchange: bool = False


class Received:
    """What has arrived on a connection and is not yet taken: the basis of all parsers.

    Attributes:
        is_empty: nothing is left.
    """

    __slots__ = ("_buffer", "_position", "is_empty")

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self.is_empty = True

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        self._buffer = data if self.is_empty else self._buffer[self._position :] + data
        self._position = 0
        self.is_empty = not self._buffer


class LineReader(Received):
    """Cuts a stream into lines.

    Args:
        limit: bytes of a line, without its end.
    """

    __slots__ = ("_limit",)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def next_line(self) -> bytes | ProtocolFault | None:
        """The next whole line without LF or CRLF, a fatal fault if it is too long, or `None`."""
        start = self._position
        end = self._buffer.find(b"\n", start)
        length = (len(self._buffer) if end < 0 else end) - start
        if length > self._limit:
            return ProtocolFault(f"a line of more than {self._limit} bytes", is_fatal=True)
        if end < 0:
            return None
        self._position = end + 1
        self.is_empty = end + 1 == len(self._buffer)
        # People at a terminal send CRLF; no key ends in CR.
        return self._buffer[start:end].removesuffix(b"\r")

    def rest(self) -> bytes:
        """What has arrived of a line that has no end."""
        rest = b"" if self.is_empty else self._buffer[self._position :]
        self._buffer, self._position, self.is_empty = b"", 0, True
        return rest
