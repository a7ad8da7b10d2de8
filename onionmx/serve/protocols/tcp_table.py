"""Postfix's tcp_table (tcp_table(5)), without I/O.

    request = "get" SP KEY LF
    reply   = ("200" SP RESULT / "400" SP REASON / "500" SP REASON) LF

`%`, blanks and what is not printable are written as %XX, in both directions. 500 says that there is no entry, 400 that
it could not be told; so a request that is none gets 400.
"""

import re
from functools import lru_cache

from onionmx.serve.protocols.codec import REMEMBERED, Codec, LineReader, LookupResult, ProtocolFault
from onionmx.serve.protocols.result import refusal
from onionmx.text import printable_ascii

MAX_LINE = 4096
"""Bytes of a line, in both directions."""

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_TO_ESCAPE = re.compile(rb"[^!-$&-~]")
_GET = b"get "
_PERCENT, _CR = ord("%"), ord("\r")
_NOT_FOUND = "no onion MX"


class TcpTableParser(LineReader):
    """Lines in, keys out."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(MAX_LINE)

    def next_request(self) -> bytes | ProtocolFault | None:
        """The next key, a fault, or `None` until more has arrived."""
        line = self.next_line()
        if line is None or isinstance(line, ProtocolFault):
            return line
        if line[:4] != _GET:
            return ProtocolFault("expected get, a space and a key", is_fatal=False)
        key = line[4:]
        if _PERCENT not in key:
            return key
        if _BROKEN_ESCAPE.search(key):
            return ProtocolFault("a % without two hexadecimal digits behind it", is_fatal=False)
        return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), key)

    def end(self) -> ProtocolFault | None:
        """What is left when the client has sent everything."""
        return ProtocolFault("cut off in the middle of a line", is_fatal=True) if self.rest() else None


def _sole_domain(data: bytes) -> bytes | None:
    # `in` with a number, as with bytes it costs an exception inside.
    if not data.startswith(_GET) or _PERCENT in data or _CR in data or not data.find(b"\n") == len(data) - 1 < MAX_LINE:
        return None
    return data[max(4, data.rfind(b"@") + 1) : -1]


def _line(code: bytes, text: bytes) -> bytes:
    escaped = _TO_ESCAPE.sub(lambda match: b"%%%02X" % match[0][0], text)
    return b"%b %b\n" % (code, escaped)


def _found(result: bytes) -> bytes:
    return _line(b"200", result)


def _failed(_outcome: LookupResult, reason: str) -> bytes:
    return _line(b"400", printable_ascii(reason).encode("ascii"))


def _none(reason: str) -> bytes:
    return _line(b"500", printable_ascii(reason or _NOT_FOUND).encode("ascii"))


def _refused(reason: str) -> bytes:
    return _found(refusal(reason))


def _malformed(reason: str) -> bytes:
    return _failed(LookupResult.PERMANENT, reason)


TCP_TABLE = Codec(
    "tcp_table",
    TcpTableParser,
    lru_cache(256)(_found),
    _failed,
    lru_cache(256)(_none),
    _refused,
    _malformed,
    lru_cache(REMEMBERED)(_sole_domain),
)
