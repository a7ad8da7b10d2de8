"""Postfix's and sendmail's socketmap (socketmap_table(5)), without I/O.

    request = netstring(NAME SP KEY)
    reply   = netstring("OK " RESULT / "NOTFOUND " / "TEMP " REASON / "TIMEOUT " REASON / "PERM " REASON)

A netstring is `LENGTH:DATA,` (https://cr.yp.to/proto/netstrings.txt). NAME is not looked at. After a malformed
netstring nobody knows where the next one begins: it is answered by PERM, and the connection ends.
"""

from functools import lru_cache

from onionmx.serve.protocols.codec import REMEMBERED, SHORT, Codec, LookupResult, ProtocolFault, Received
from onionmx.serve.protocols.result import refusal
from onionmx.text import printable_ascii

MAX_QUERY = 10_000
"""Bytes of a request (Postfix: socketmap_max_query_size)."""

_MAX_DIGITS = len(str(MAX_QUERY))
_COMMA = ord(",")
_ZERO = ord("0")
_NO_LENGTH = ProtocolFault(
    "expected the length of a netstring, in digits without leading zeros, and a colon", is_fatal=True
)
_TOO_LONG = ProtocolFault(f"a netstring of more than {MAX_QUERY} bytes", is_fatal=True)
_WORDS = {LookupResult.TEMPORARY: "TEMP", LookupResult.TIMEOUT: "TIMEOUT", LookupResult.PERMANENT: "PERM"}


class SocketmapParser(Received):
    """Netstrings in, keys out."""

    __slots__ = ()

    def next_request(self) -> bytes | ProtocolFault | None:  # noqa: PLR0911 -- each way a netstring can be wrong
        """The next key, a fault, or `None` until more has arrived."""
        buffer, start = self._buffer, self._position
        colon = buffer.find(b":", start, start + _MAX_DIGITS + 1)
        if colon < 0:
            return _check_start(buffer[start : start + _MAX_DIGITS + 1])
        digits = buffer[start:colon]
        if not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
            return _NO_LENGTH
        length = int(digits)
        if length > MAX_QUERY:
            return _TOO_LONG
        end = colon + 1 + length
        if len(buffer) <= end:
            return None
        if buffer[end] != _COMMA:
            return ProtocolFault(f"no comma behind the {length} bytes of a netstring", is_fatal=True)
        self._position = end + 1
        self.is_empty = end + 1 == len(buffer)
        space = buffer.find(b" ", colon, end)
        if space < 0:
            return ProtocolFault("expected a map name, a space and a key", is_fatal=False)
        return buffer[space + 1 : end]

    def end(self) -> ProtocolFault | None:
        """What is left when the client has sent everything."""
        return None if self.is_empty else ProtocolFault("cut off in the middle of a netstring", is_fatal=True)


# By the number of bytes of a whole netstring, what it must begin with: so length and commas need no arithmetic.
_HEADS = [b" "] * (SHORT + 1)
for _length in range(SHORT - len(b"123:,") + 1):
    _HEADS[len(b"%d:," % _length) + _length] = b"%d:" % _length


def _sole_domain(data: bytes) -> bytes | None:
    if len(data) > SHORT or not data.startswith(_HEADS[len(data)]) or data[-1] != _COMMA:
        return None
    space, at = data.find(b" "), data.rfind(b"@")
    return data[max(space, at) + 1 : -1] if space > 0 else None


def _check_start(start: bytes) -> ProtocolFault | None:
    """What is wrong with bytes that have no colon, if anything is."""
    if start and not start.isdigit():
        return _NO_LENGTH
    if start[:1] == b"0" and len(start) > 1:
        return _NO_LENGTH
    return _TOO_LONG if len(start) > _MAX_DIGITS else None


def _netstring(payload: bytes) -> bytes:
    return b"%d:%b," % (len(payload), payload)


def _found(result: bytes) -> bytes:
    return _netstring(b"OK " + result)


def _failed(outcome: LookupResult, reason: str) -> bytes:
    return _netstring(f"{_WORDS[outcome]} {printable_ascii(reason)}".encode("ascii"))


def _none(_reason: str) -> bytes:
    return b"9:NOTFOUND ,"  # the space belongs to it: Postfix tolerates no reply without


def _refused(reason: str) -> bytes:
    return _found(refusal(reason))


def _malformed(reason: str) -> bytes:
    return _failed(LookupResult.PERMANENT, reason)


SOCKETMAP = Codec(
    "socketmap",
    SocketmapParser,
    lru_cache(256)(_found),
    _failed,
    _none,
    _refused,
    _malformed,
    lru_cache(REMEMBERED)(_sole_domain),
)
