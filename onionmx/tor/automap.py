"""Virtual addresses for onions from Tor's DNSPort (tor(1), AutomapHostsOnResolve).

tor answers the A question for an onion with an address out of VirtualAddrNetworkIPv4, and from then on connects
anyone who names that address through its SOCKS port to that onion. Nothing leaves the machine: the mapping is local.

The DNS messages (RFC 1035 section 4.1) are built here because dnspython takes six times as long to load as the
whole route helper may run.
"""

from __future__ import annotations

# socket, the module over it, loads enum and selectors, a third of the time that the route helper may take.
import _socket
import os
import time
from struct import Struct
from struct import error as struct_error

from onionmx.defaults import DNSPORT, TOR_USER
from onionmx.errors import AutomapError, OnionError, OwnerError, UsageError
from onionmx.net.owner import ListenerOwner
from onionmx.onion import DEFAULT_PORT, parse_port

TYPE_CHECKING = False  # typing itself would cost the route helper 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DEFAULT_TIMEOUT = 5.0  # seconds; tor answers from memory, in well under a millisecond
MAX_TIMEOUT = 50.0  # seconds; Exim gives up on a command after 60

_ATTEMPTS = 3  # UDP on loopback loses a packet only when a buffer overflows
_MAX_PACKET = 1232  # bytes; an answer with one address has about 100
_HEADER = Struct("!6H")  # id, flags, counts of question, answer, authority and additional records
_RECORD = Struct("!HHIH")  # type, class, TTL, length of the data
_QUESTION = Struct("!HH")
_FLAG_RESPONSE = 0x8000
_FLAG_RECURSION_DESIRED = 0x0100
_RCODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_TYPE_A = 1
_CLASS_IN = 1
_POINTER = 0xC0  # the two high bits of a length octet mark a compressed name (RFC 1035 section 4.1.4)

# A virtual address that is routed on the internet would send the connection to its owner. VirtualAddrNetworkIPv4
# is 127.192.0.0/10 by default; operators set it to other networks that nobody on the internet has.
_NEVER_ROUTED = (
    (0x7F000000, 8),  # 127.0.0.0/8, loopback
    (0x0A000000, 8),  # 10.0.0.0/8
    (0xAC100000, 12),  # 172.16.0.0/12
    (0xC0A80000, 16),  # 192.168.0.0/16
    (0x64400000, 10),  # 100.64.0.0/10, RFC 6598
    (0xC6120000, 15),  # 198.18.0.0/15, RFC 2544
)


def parse_address(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`, HOST being an IPv4 address or an IPv6 address in brackets.

    Raises:
        UsageError: not of that form.
    """
    host, colon, port = text.rpartition(":")
    family = _socket.AF_INET
    if host.startswith("[") and host.endswith("]"):
        host, family = host[1:-1], _socket.AF_INET6
    try:
        if not colon:
            raise OnionError("no port")
        _socket.inet_pton(family, host)
        return host, parse_port(port)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{text!r} is not the address of a DNSPort: expected HOST:PORT with an IP address, such as {DNSPORT}"
        ) from error


def encode_question(name: str, query_id: int) -> bytes:
    """The DNS message that asks for the IPv4 address of a name."""
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split("."))
    header = _HEADER.pack(query_id, _FLAG_RECURSION_DESIRED, 1, 0, 0, 0)
    return header + labels + b"\0" + _QUESTION.pack(_TYPE_A, _CLASS_IN)


def decode_answer(packet: bytes, question: bytes) -> str | None:
    """The virtual address in the answer to a question.

    Args:
        packet: what came from the DNSPort.
        question: what `encode_question` made.

    Returns:
        The address, or `None` if the packet does not answer this question.

    Raises:
        AutomapError: the answer is an error, has no address, is malformed, or the address is a public one.
    """
    if len(packet) < len(question) or packet[:2] != question[:2]:
        return None
    if packet[_HEADER.size : len(question)].lower() != question[_HEADER.size :]:
        return None
    _, flags, questions, answers, _, _ = _HEADER.unpack_from(packet)
    if not flags & _FLAG_RESPONSE or questions != 1:
        return None
    rcode = flags & 0x0F
    if rcode:
        raise AutomapError(f"the DNSPort answered {_RCODES.get(rcode, f'rcode {rcode}')}")
    try:
        return _first_address(packet, len(question), answers)
    except (struct_error, IndexError) as error:
        raise AutomapError("the DNSPort's answer is malformed") from error


def _first_address(packet: bytes, position: int, answers: int) -> str:
    for _ in range(answers):
        position = _skip_name(packet, position)
        kind, family, _ttl, length = _RECORD.unpack_from(packet, position)
        position += _RECORD.size
        data = packet[position : position + length]
        position += length
        if (kind, family, len(data)) == (_TYPE_A, _CLASS_IN, 4):
            return _checked_address(data)
    raise AutomapError("the DNSPort's answer has no address: is AutomapHostsOnResolve set to 1 in torrc?")


def _skip_name(packet: bytes, position: int) -> int:
    while True:
        length = packet[position]
        if length >= _POINTER:
            return position + 2
        position += 1 + length
        if not length:
            return position


def _checked_address(data: bytes) -> str:
    address = _socket.inet_ntop(_socket.AF_INET, data)
    number = int.from_bytes(data, "big")
    if any((number ^ network) >> (32 - prefix) == 0 for network, prefix in _NEVER_ROUTED):
        return address
    raise AutomapError(f"{address} is a public address, not a virtual one: this is not Tor's DNSPort")


def format_host(address: str, port: int) -> str:
    """A virtual address as an item of Exim's host lists: `ip`, or `ip::port` where the port is not 25."""
    return address if port == DEFAULT_PORT else f"{address}::{port}"


def port_of_tor(dnsport: tuple[str, int], user: str) -> ListenerOwner:
    """Look whose the port is, before it is asked.

    Raises:
        AutomapError: somebody else's, or it cannot be told whose.
    """
    try:
        return ListenerOwner(*dnsport, (user,), is_udp=True)
    except OwnerError as error:
        raise AutomapError(f"tor's DNSPort is not believed: {error}") from error


def confirm(listener: ListenerOwner) -> None:
    """Look again, before an answer is used.

    Raises:
        AutomapError: it came, or may have come, from somebody else.
    """
    try:
        listener.confirm()
    except OwnerError as error:
        raise AutomapError(f"what tor's DNSPort answered is not believed: {error}") from error


def resolve(
    names: Iterable[str], dnsport: tuple[str, int], timeout: float, user: str = TOR_USER
) -> dict[str, str | AutomapError]:
    """Ask Tor's DNSPort for the virtual addresses of onions, all at once.

    Args:
        names: onion host names; each is asked once.
        dnsport: IP address and port.
        timeout: seconds for all of them together.
        user: `tor.user`, the only one besides root and ourselves who may listen there.

    Returns:
        For each name its address, or the reason why there is none.

    Raises:
        AutomapError: the DNSPort cannot be asked, is not tor's, or did not answer a single question in time.
    """
    where = _shown(dnsport)
    listener = port_of_tor(dnsport, user)
    questions = {name: encode_question(name, int.from_bytes(os.urandom(2), "big")) for name in dict.fromkeys(names)}
    results: dict[str, str | AutomapError] = {}
    family = _socket.AF_INET6 if ":" in dnsport[0] else _socket.AF_INET
    try:
        # A connected socket takes packets from this peer alone, and hears of a closed port at once.
        udp = _socket.socket(family, _socket.SOCK_DGRAM)
        try:
            udp.connect(dnsport)
            _exchange(udp, questions, results, timeout)
        finally:
            udp.close()
    except OSError as error:
        raise AutomapError(f"tor's DNSPort at {where} cannot be asked: {error.strerror}; is tor running?") from error
    if not results:
        raise AutomapError(f"tor's DNSPort at {where} did not answer within {timeout:g} s")
    confirm(listener)
    for name in questions.keys() - results.keys():
        results[name] = AutomapError(f"the DNSPort did not answer within {timeout:g} s")
    return results


def _exchange(
    udp: _socket.socket, questions: dict[str, bytes], results: dict[str, str | AutomapError], timeout: float
) -> None:
    start = time.monotonic()
    for attempt in range(1, _ATTEMPTS + 1):
        for question in (questions[name] for name in questions.keys() - results.keys()):
            udp.send(question)
        deadline = start + timeout * attempt / _ATTEMPTS
        while len(results) < len(questions):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            udp.settimeout(left)
            try:
                _take(udp.recv(_MAX_PACKET), questions, results)
            except TimeoutError:
                break


def _take(packet: bytes, questions: dict[str, bytes], results: dict[str, str | AutomapError]) -> None:
    for name, question in questions.items():
        try:
            address = decode_answer(packet, question)
        except AutomapError as error:
            results[name] = error
            return
        if address is not None:
            results[name] = address
            return


def _shown(dnsport: Sequence[object]) -> str:
    host, port = dnsport
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
