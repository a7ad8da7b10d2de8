"""The most frequent reply to a question for an onion-MX record, "there is none", read without making an object; no I/O.

Nine domains in ten and more have none. A reply is read here only where it is NXDOMAIN or NODATA with the SOA that says
for how long (RFC 2308 section 5) and nothing that needs a closer look; the ordinary resolver judges all others.
"""

import struct

_HEADER = 12  # bytes (RFC 1035 section 4.1.1)
_FLAGS_AND_COUNTS = struct.Struct("!2x5H")
_RECORD = struct.Struct("!2HIH")  # type, class, TTL, length
_U32 = struct.Struct("!I")
_AA, _RA = 0x0400, 0x0080
_JUDGED = 0x7A0F  # opcode, TC and rcode
_TYPE_SOA, _CLASS_IN = 6, 1
_SOA_NUMBERS = 20  # bytes behind the names; the last four are the TTL of "there is none"
_OPT = b"\0\0\x29"  # its owner, the root, and its type
_NO_OPTIONS = b"\0\0"  # the length of what it holds
_LONGEST_LABEL, _POINTER = 0x3F, 0xC0
_LONGEST_NAME = 255  # RFC 1035 section 2.3.4
_MAX_TTL = 0x7FFFFFFF  # RFC 2181 section 8

_REASONS = {0: "no SRV record", 3: "no such name in DNS"}  # by rcode, in the words of `read_response`


def read_nothing(packet: bytes, end: int) -> tuple[str, int] | None:
    """Read a reply that says that there is no record.

    Args:
        packet: with the right id and question.
        end: where its question ends.

    Returns:
        NXDOMAIN or NODATA in words, and for how many seconds; `None` where it says anything else, or says it in a way
        that is not read here.
    """
    try:
        return _read(packet, end)
    except (struct.error, IndexError):
        return None


def _read(packet: bytes, end: int) -> tuple[str, int] | None:
    flags, questions, answers, authorities, additional = _FLAGS_AND_COUNTS.unpack_from(packet)
    reason = _REASONS.get(flags & _JUDGED) if flags & (_AA | _RA) else None
    if reason is None or questions != 1 or answers or authorities != 1 or additional > 1:
        return None
    labels = set()
    at = _HEADER
    while size := packet[at]:
        labels.add(at)
        at += size + 1
    # The owner of the SOA is a part of the name that was asked for, or the root: its zone is above the name.
    if not packet[end]:
        at = end + 1
    elif ((packet[end] - _POINTER) << 8 | packet[end + 1]) in labels:
        at = end + 2
    else:
        return None
    kind, zone, ttl, length = _RECORD.unpack_from(packet, at)
    last = at + _RECORD.size + length
    # No name can be longer than all bytes of the record and the question together.
    if kind != _TYPE_SOA or zone != _CLASS_IN or ttl > _MAX_TTL or last - at + end - _HEADER > _LONGEST_NAME:
        return None
    if _behind_names(packet, at + _RECORD.size, labels) != last - _SOA_NUMBERS or not _is_end(packet, last, additional):
        return None
    (minimum,) = _U32.unpack_from(packet, last - _U32.size)
    return reason, min(ttl, minimum)


def _behind_names(packet: bytes, at: int, labels: set[int]) -> int:
    """Where two names end; 0 where they are not read here. A pointer leads to a label of a name before it."""
    for _ in range(2):
        own = []
        while 0 < (size := packet[at]) <= _LONGEST_LABEL:
            own.append(at)
            at += size + 1
        if size and ((size - _POINTER) << 8 | packet[at + 1]) not in labels:
            return 0
        at += 2 if size else 1
        labels.update(own)
    return at


def _is_end(packet: bytes, at: int, additional: int) -> bool:
    if not additional:
        return len(packet) == at
    # The upper half of the rcode stands in the OPT record (RFC 6891 section 6.1.3); options are not read here.
    return packet[at : at + 3] == _OPT and not packet[at + 5] and packet[at + 9 :] == _NO_OPTIONS
