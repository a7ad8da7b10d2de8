"""The most frequent reply to a question for an onion-MX record, "there is none", read without making an object; no I/O.

Nine domains in ten and more have none. A reply is read here only where it is NXDOMAIN or NODATA with the SOA that says
for how long (RFC 2308 section 5) and nothing that needs a closer look; the ordinary resolver judges all others.

It is here for speed alone. With `onionmx.dns.wire.read_plain` in its place, the engine takes 5.0 instead of 4.1 seconds
of processor time for the 200 000 domains of `python -m tests.bench bulk` (three runs of each in turn), so that it asks
0.32 and not 0.39 times as fast as dnsperf.
"""

import struct
from itertools import product

from onionmx.dns.response import NO_RECORD, NO_SUCH_NAME

_HEADER = 12  # bytes (RFC 1035 section 4.1.1)
_QR, _AA, _RA = 0x8000, 0x0400, 0x0080
_FREE = (_AA, _RA, 0x0100, 0x0040, 0x0020, 0x0010)  # flags that may be set or not: AA, RA, RD, Z, AD, CD
_REASONS = {0: NO_RECORD, 3: NO_SUCH_NAME}  # by rcode
_RECORD = struct.Struct("!2HIH")  # type, class, TTL, length
_U32 = struct.Struct("!I")
_TYPE_SOA, _CLASS_IN = 6, 1
_SOA_NUMBERS = 20  # bytes behind the names; the last four are the TTL of "there is none"
_OPT = b"\0\0\x29"  # its owner, the root, and its type
_OPT_SIZE = 11  # bytes, without options
_NO_OPTIONS = b"\0\0"  # the length of what it holds
_LONGEST_LABEL, _POINTER = 0x3F, 0xC000
_LONGEST_NAME = 255  # RFC 1035 section 2.3.4
_MAX_TTL = 0x7FFFFFFF  # RFC 2181 section 8


def _headers() -> dict[bytes, str]:
    """All headers, without the id, of which a reply can be read here: one authority record, and OPT or not."""
    headers = {}
    for rcode, *bits in product(_REASONS, *((0, bit) for bit in _FREE)):
        flags = _QR | sum(bits) | rcode
        if flags & (_AA | _RA):
            for additional in 0, 1:
                headers[struct.pack("!5H", flags, 1, 0, 1, additional)] = _REASONS[rcode]
    return headers


_HEADERS = _headers()


def read_nothing(packet: bytes, end: int) -> tuple[str, int] | None:
    """Read a reply that says that there is no record.

    Args:
        packet: with the right id and question.
        end: where its question ends.

    Returns:
        NXDOMAIN or NODATA in words, and for how many seconds; `None` where it says anything else, or says it in a way
        that is not read here.
    """
    reason = _HEADERS.get(packet[2:_HEADER])
    if reason is None:
        return None
    try:
        ttl = _read_ttl(packet, end)
    except (struct.error, IndexError):
        return None
    return None if ttl is None else (reason, ttl)


def _read_ttl(packet: bytes, end: int) -> int | None:
    labels = set()
    at = _HEADER
    while size := packet[at]:
        labels.add(at)
        at += size + 1
    # The owner of the SOA is a part of the name that was asked for, or the root: its zone is above the name.
    if not packet[end]:
        at = end + 1
    elif (packet[end] << 8 | packet[end + 1]) - _POINTER in labels:
        at = end + 2
    else:
        return None
    kind, zone, ttl, length = _RECORD.unpack_from(packet, at)
    start = at + _RECORD.size
    last = start + length
    # No name can be longer than all bytes of the record and the question together.
    if kind != _TYPE_SOA or zone != _CLASS_IN or ttl > _MAX_TTL or last - at + end - _HEADER > _LONGEST_NAME:
        return None
    if _behind_names(packet, start, labels) != last - _SOA_NUMBERS or not _is_end(packet, last):
        return None
    (minimum,) = _U32.unpack_from(packet, last - _U32.size)
    return min(ttl, minimum)  # type: ignore[no-any-return]


def _behind_names(packet: bytes, at: int, labels: set[int]) -> int:
    """Where two names end; 0 where they are not read here. A pointer leads to a label of a name before it."""
    own = []
    while 0 < (size := packet[at]) <= _LONGEST_LABEL:
        own.append(at)
        at += size + 1
    if size:
        if (size << 8 | packet[at + 1]) - _POINTER not in labels:
            return 0
        at += 1
    at += 1
    labels.update(own)
    while 0 < (size := packet[at]) <= _LONGEST_LABEL:
        at += size + 1
    if not size:
        return at + 1
    return at + 2 if (size << 8 | packet[at + 1]) - _POINTER in labels else 0


def _is_end(packet: bytes, at: int) -> bool:
    if not packet[_HEADER - 1]:  # no additional record
        return len(packet) == at
    # The upper half of the rcode is in the OPT record (RFC 6891 section 6.1.3); options are not read here.
    is_whole = len(packet) == at + _OPT_SIZE and packet.endswith(_NO_OPTIONS)
    return is_whole and packet.startswith(_OPT, at) and not packet[at + 5]
