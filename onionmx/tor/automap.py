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
from onionmx.onion import DEFAULT_PORT, Endpoint, parse_port

TYPE_CHECKING = False  # typing itself would cost the route helper 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DEFAULT_TIMEOUT = 5.0  # seconds; tor answers from memory, in well under a millisecond
MAX_TIMEOUT = 50.0  # seconds; Exim gives up on a command after 60
ATTEMPTS = 3  # UDP on loopback loses a packet only when a buffer overflows

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


def format_hosts(
    endpoints: Iterable[Endpoint], results: dict[str, str | AutomapError], left_out: Sequence[str] = ()
) -> tuple[str, tuple[str, ...]]:
    """The host list for Exim's `route_data`.

    Args:
        endpoints: in route order.
        results: for each onion what `resolve` found.
        left_out: reasons why others are missing already.

    Returns:
        `ip`, or `ip::port` where the port is not 25, joined by colons; and what was left out, with reasons.

    Raises:
        AutomapError: there is no address for any of them.
    """
    hosts: list[str] = []
    reasons = [*left_out]
    for onion, port in endpoints:
        result = results[onion]
        if isinstance(result, AutomapError):
            reasons.append(f"{onion}: {result}")
        else:
            hosts.append(result if port == DEFAULT_PORT else f"{result}::{port}")
    if not hosts:
        raise AutomapError(f"no usable target: {'; '.join(reasons)}")
    return ":".join(hosts), tuple(reasons)


class Conversation:
    """Questions for some onions, all at once, and what came back; what sends and receives is around it.

    Args:
        names: onion host names; each is asked once.
        dnsport: IP address and port.
        user: `tor.user`, the only one besides root and ourselves who may listen there.

    Raises:
        AutomapError: the port is somebody else's, or it cannot be told whose.
    """

    def __init__(self, names: Iterable[str], dnsport: tuple[str, int], user: str) -> None:
        host, port = dnsport
        self._where = f"tor's DNSPort at [{host}]:{port}" if ":" in host else f"tor's DNSPort at {host}:{port}"
        try:
            self._listener = ListenerOwner(host, port, (user,), is_udp=True)
        except OwnerError as error:
            raise AutomapError(f"tor's DNSPort is not believed: {error}") from error
        self._questions = {name: encode_question(name, int.from_bytes(os.urandom(2), "big")) for name in names}
        self._results: dict[str, str | AutomapError] = {}

    def unanswered(self) -> list[bytes]:
        """The questions to send."""
        return [question for name, question in self._questions.items() if name not in self._results]

    def take(self, packet: bytes) -> bool:
        """Take what has come from the port; whether all is answered now."""
        for name, question in self._questions.items():
            try:
                result: str | AutomapError | None = decode_answer(packet, question)
            except AutomapError as error:
                result = error
            if result is not None:
                self._results[name] = result
                break
        return len(self._results) == len(self._questions)

    def failure(self, error: Exception) -> AutomapError:
        """What to raise where sending or receiving failed."""
        why = getattr(error, "strerror", None) or error
        return AutomapError(f"{self._where} cannot be asked: {why}; is tor running?")

    def results(self, timeout: float) -> dict[str, str | AutomapError]:
        """For each name its address, or the reason why there is none.

        Args:
            timeout: seconds that they have had.

        Raises:
            AutomapError: not a single answer came, or they may have come from somebody else.
        """
        if not self._results:
            raise AutomapError(f"{self._where} did not answer within {timeout:g} s")
        try:
            self._listener.confirm()
        except OwnerError as error:
            raise AutomapError(f"what tor's DNSPort answered is not believed: {error}") from error
        silent = AutomapError(f"the DNSPort did not answer within {timeout:g} s")
        return {name: self._results.get(name, silent) for name in self._questions}


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
    conversation = Conversation(names, dnsport, user)
    try:
        # A connected socket takes packets from this peer alone, and hears of a closed port at once.
        udp = _socket.socket(_socket.AF_INET6 if ":" in dnsport[0] else _socket.AF_INET, _socket.SOCK_DGRAM)
        try:
            udp.connect(dnsport)
            _exchange(udp, conversation, timeout)
        finally:
            udp.close()
    except OSError as error:
        raise conversation.failure(error) from error
    return conversation.results(timeout)


def _exchange(udp: _socket.socket, conversation: Conversation, timeout: float) -> None:
    start = time.monotonic()
    for attempt in range(1, ATTEMPTS + 1):
        for question in conversation.unanswered():
            udp.send(question)
        deadline = start + timeout * attempt / ATTEMPTS
        while (left := deadline - time.monotonic()) > 0:
            udp.settimeout(left)
            try:
                if conversation.take(udp.recv(_MAX_PACKET)):
                    return
            except TimeoutError:
                break
