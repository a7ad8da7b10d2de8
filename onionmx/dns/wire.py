"""Plain questions and answers in wire form (RFC 1035 section 4), without the cost of a whole DNS library; no I/O.

Most answers are a few SRV records, or nothing and the SOA that says for how long. Those are read here; everything else
is left to dnspython, which is twenty times slower. A property test holds the two to the same verdict.
"""

import struct
from dataclasses import dataclass

from onionmx.dns.response import NO_RECORD, NO_SUCH_NAME, Nothing, Record
from onionmx.domain import MAX_LABEL_LENGTH, Domain
from onionmx.errors import DnsError

UDP_PAYLOAD = 1232  # bytes, the size that DNS flag day 2020 settled on

_HEADER = struct.Struct("!6H")
_QUESTION_AT = _HEADER.size
_RECORD = struct.Struct("!2HIH")  # type, class, TTL, length
_SRV = struct.Struct("!3H")
_U32 = struct.Struct("!I")
_QUESTION_FLAGS = 0x0120  # RD, and AD, which asks for AD in the answer (RFC 6840 section 5.7)
_QR, _AA, _TC, _RA, _AD = 0x8000, 0x0400, 0x0200, 0x0080, 0x0020
_OPCODE, _RCODE = 0x7800, 0x000F
_NOERROR, _NXDOMAIN = 0, 3
_TYPE_SOA, _TYPE_SRV, _TYPE_OPT, _CLASS_IN = 6, 33, 41, 1
_PREFIX = "\x09_onion-mx\x04_tcp"
_END = "\0" + struct.pack("!2H", _TYPE_SRV, _CLASS_IN).decode("ascii")  # the root, type and class
_TYPE_AND_CLASS = 4  # bytes
_ONION = b"\5onion\0"
_LAST_LABEL = len(_ONION) + _TYPE_AND_CLASS
_LENGTHS = [chr(length) for length in range(MAX_LABEL_LENGTH + 1)]
_FLAGS_AND_COUNTS = struct.pack("!5H", _QUESTION_FLAGS, 1, 0, 0, 1)
_OPT = struct.pack("!BHHIH", 0, _TYPE_OPT, UDP_PAYLOAD, 0, 0)
_POINTER = 0xC0
_MAX_TTL = 0x7FFFFFFF  # RFC 2181 section 8
_SOA_NUMBERS = 20  # bytes behind the names of an SOA; the last four are the TTL of "there is none"
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class _UnusualError(Exception):
    """Not an answer of the plain kind."""


@dataclass(frozen=True, slots=True)
class Plain:
    """What a plain answer says.

    Attributes:
        result: the records, or that there are none.
        ttl: seconds.
        is_authentic: the resolver says that DNSSEC has validated it (AD).
    """

    result: tuple[Record, ...] | Nothing
    ttl: int
    is_authentic: bool


def ask_for(domain: Domain) -> bytes:
    """The question section for the onion-MX record of a domain.

    Args:
        domain: not longer than `MAX_SRV_DOMAIN_LENGTH`.

    Raises:
        DnsError: it is a name of Tor.
    """
    labels = [_LENGTHS[len(label)] + label for label in domain.split(".")]
    question = "".join((_PREFIX, *labels, _END)).encode("ascii")
    if question[-_LAST_LABEL:-_TYPE_AND_CLASS].lower() == _ONION:
        raise DnsError(f"{domain} is a name for Tor, and is asked nowhere else")
    return question


def make_query(number: int, question: bytes) -> bytes:
    """The message that asks a question.

    Args:
        number: its id, 0 to 65535.
        question: from `ask_for`.
    """
    return b"".join((number.to_bytes(2, "big"), _FLAGS_AND_COUNTS, question, _OPT))


def is_reply(packet: bytes, question: bytes) -> bool:
    """Whether a packet with the right id is the reply to a question."""
    return packet.startswith(question, _QUESTION_AT) and packet[2] >= _QR >> 8


def read_plain(packet: bytes, question: bytes) -> Plain | None:
    """Read a reply.

    Args:
        packet: for which `is_reply` holds.
        question: from `ask_for`.

    Returns:
        `None` where it is anything but plain.
    """
    try:
        return _read(packet, question)
    except (_UnusualError, struct.error, IndexError):
        return None


def _read(packet: bytes, question: bytes) -> Plain:
    _, flags, questions, answers, authorities, additional = _HEADER.unpack_from(packet)
    rcode = flags & _RCODE
    if flags & (_OPCODE | _TC) or questions != 1 or rcode not in {_NOERROR, _NXDOMAIN} or additional > 1:
        raise _UnusualError
    position = _HEADER.size + len(question)
    result: tuple[Record, ...] | Nothing
    if answers and not authorities and rcode == _NOERROR:
        result, ttl, position = _read_records(packet, position, answers)
    elif authorities == 1 and not answers and flags & (_AA | _RA):
        ttl, position = _read_soa(packet, position, question)
        result = Nothing(NO_SUCH_NAME if rcode == _NXDOMAIN else NO_RECORD, ttl)
    else:
        raise _UnusualError
    # The upper half of the rcode is in the OPT record (RFC 6891 section 6.1.3).
    if additional and (packet[position : position + 3] != _OPT[:3] or packet[position + 5]):
        raise _UnusualError
    if additional:
        position += len(_OPT)  # one with options is left to dnspython
    if position != len(packet) or ttl > _MAX_TTL:
        raise _UnusualError
    return Plain(result, ttl, bool(flags & _AD))


def _read_records(packet: bytes, position: int, count: int) -> tuple[tuple[Record, ...], int, int]:
    records = []
    ttls = []
    for _ in range(count):
        if packet[position : position + 2] != b"\xc0\x0c":  # the name of the question
            raise _UnusualError
        kind, zone, ttl, length = _RECORD.unpack_from(packet, position + 2)
        start = position + 2 + _RECORD.size
        position = start + length
        if (kind, zone) != (_TYPE_SRV, _CLASS_IN):
            raise _UnusualError
        priority, weight, port = _SRV.unpack_from(packet, start)
        labels, end = _read_name(packet, start + _SRV.size)
        if end != position or not all(map(_PLAIN.issuperset, labels)):
            raise _UnusualError
        records.append(Record(priority, weight, port, b".".join(labels).decode("ascii")))
        ttls.append(ttl)
    if count > 1 and len({record._replace(host=record.host.lower()) for record in records}) != count:
        raise _UnusualError
    return tuple(records), min(ttls), position


def _read_soa(packet: bytes, position: int, question: bytes) -> tuple[int, int]:
    owner, position = _read_name(packet, position)
    kind, zone, ttl, length = _RECORD.unpack_from(packet, position)
    start = position + _RECORD.size
    end = start + length
    _, middle = _read_name(packet, start)
    _, last = _read_name(packet, middle)
    asked, _ = _read_name(_HEADER.pack(0, 0, 0, 0, 0, 0) + question, _HEADER.size)
    is_above = not owner or [label.lower() for label in asked[-len(owner) :]] == [label.lower() for label in owner]
    if (kind, zone) != (_TYPE_SOA, _CLASS_IN) or not is_above or last + _SOA_NUMBERS != end or ttl > _MAX_TTL:
        raise _UnusualError
    (minimum,) = _U32.unpack_from(packet, end - _U32.size)
    return min(ttl, minimum), end


def _read_name(packet: bytes, position: int) -> tuple[list[bytes], int]:
    """The labels of a name and where it ends. Pointers lead backwards only, so there is no loop."""
    labels = []
    end = 0
    limit = position
    while length := packet[position]:
        if length >= _POINTER:
            end = end or position + 2
            position = (length - _POINTER) << 8 | packet[position + 1]
            if not _HEADER.size <= position < limit:
                raise _UnusualError
            limit = position
            continue
        if length >= 0x40:  # noqa: PLR2004 -- the first two bits are reserved (RFC 1035 section 4.1.4)
            raise _UnusualError
        labels.append(packet[position + 1 : position + 1 + length])
        position += 1 + length
    if sum(map(len, labels)) + len(labels) >= 255:  # noqa: PLR2004 -- RFC 1035 section 2.3.4
        raise _UnusualError
    return labels, end or position + 1
