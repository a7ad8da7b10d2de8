"""The test vectors of docs/onion-mx-record.md: what the file says, and a DNS that answers as a vector says.

The types are the format that the page describes; a member that it does not name is an error.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute, Unroutable
from onionmx.config import DnsSection
from onionmx.domain import SRV_PREFIX
from onionmx.onion import Endpoint
from onionmx.shipped import shipped
from onionmx.target import Trust
from tests.dns.scripted import record

AMPLE = 60.0
"""Seconds for an answer that is expected: it may come late on a busy machine."""
SHORT = 0.5
"""Seconds for one that never comes."""
ODD = 9.0
"""Seconds for one that is not plain: a third of them may pass before the ordinary resolver looks at it."""
SHARE = 0.05
"""By which the share of a target that is first may differ."""
TIMEOUT = "timeout"
_ID = 2  # octets

Target = tuple[str, Annotated[int, Meta(ge=1, le=65535)]]


class Records(Struct, frozen=True, forbid_unknown_fields=True):
    """A response in presentation format; what it does not name is as in the question."""

    rcode: str = "NOERROR"
    flags: tuple[Literal["AA", "TC", "RA", "AD"], ...] = ("RA",)
    answer: tuple[str, ...] = ()
    authority: tuple[str, ...] = ()


class Wire(Struct, frozen=True, forbid_unknown_fields=True):
    """A packet in hexadecimal, whose first two octets give way to the id of the question."""

    wire: Annotated[str, Meta(pattern="^([0-9a-f]{2})+$")]


Packet = dict[str, object]
Response = Literal["timeout"] | Packet
Responses = Response | list[Packet]


def read_packet(packet: Packet) -> Records | Wire:
    """One packet of a response."""
    return msgspec.convert(packet, Wire) if "wire" in packet else msgspec.convert(packet, Records)


class Question(Struct, frozen=True, forbid_unknown_fields=True):
    """What is said to the question for the SRV records of a name, and what over TCP where that is something else."""

    name: str
    response: Responses
    tcp: Response | UnsetType = UNSET


class Route(Struct, frozen=True, forbid_unknown_fields=True):
    """The answer that must come out: one of the first five."""

    found: list[Target] | UnsetType = UNSET
    found_by_weight: list[list[tuple[str, int, float | None]]] | UnsetType = UNSET
    none: str | UnsetType = UNSET
    could_not_tell: str | UnsetType = UNSET
    refused: str | UnsetType = UNSET
    ttl: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    signed: bool | UnsetType = UNSET


class Vector(Struct, frozen=True, forbid_unknown_fields=True):
    """One of them; see the page."""

    id: Annotated[str, Meta(pattern="^[a-z0-9]+(-[a-z0-9]+)*$")]
    section: str
    level: Literal["MUST", "MUST NOT", "SHOULD", "MAY"]
    why: str
    recipient: str
    dns: list[Question]
    route: Route
    zone: list[str] | UnsetType = UNSET
    trusted_resolver: bool = True

    @property
    def packets(self) -> list[Records | Wire]:
        """Everything that is sent back."""
        said = [each for question in self.dns for each in (question.response, question.tcp)]
        lists = [each if isinstance(each, list) else [each] for each in said]
        return [read_packet(packet) for packets in lists for packet in packets if isinstance(packet, dict)]

    @property
    def seconds(self) -> float:
        """For the answer."""
        is_odd = any(isinstance(packet, Wire) for packet in self.packets)
        is_silent = is_odd or any(TIMEOUT in (each.response, each.tcp) for each in self.dns)
        if self.route.could_not_tell is not UNSET and is_silent:
            return SHORT
        return ODD if is_odd else AMPLE


class Vectors(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    format: Literal[1]
    zones: dict[str, Literal["unsigned", "signed", "bogus"]]
    vectors: list[Vector]


TEXT = shipped("docs/onion-mx-record.json").read_bytes()
ALL = msgspec.json.decode(TEXT, type=Vectors)


def packets(responses: Responses, query: dns.message.Message) -> list[bytes]:
    """What is sent back, in this order; nothing for a timeout."""
    if responses == TIMEOUT:
        return []
    assert not isinstance(responses, str)
    return [_packet(each, query) for each in (responses if isinstance(responses, list) else [responses])]


def _packet(response: Packet, query: dns.message.Message) -> bytes:
    said = read_packet(response)
    if isinstance(said, Wire):
        return query.id.to_bytes(_ID, "big") + bytes.fromhex(said.wire)[_ID:]
    message = dns.message.make_response(query)
    message.flags |= dns.flags.from_text(" ".join(said.flags))
    message.set_rcode(dns.rcode.from_text(said.rcode))
    message.answer = list(map(record, said.answer))
    message.authority = list(map(record, said.authority))
    return message.to_wire()


class VectorServer(asyncio.DatagramProtocol):
    """Answers over UDP and TCP as a vector says; a question that it does not name is noted and gets REFUSED."""

    def __init__(self, vector: Vector) -> None:
        self._by_name = {each.name.rstrip(".").lower(): each for each in vector.dns}
        self._transport: asyncio.DatagramTransport | None = None
        self.strange: list[str] = []
        """Questions that must not be asked."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        assert self._transport
        for packet in packets(self._said_to(query).response, query):
            self._transport.sendto(packet, address)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer over TCP until the client closes the connection."""
        try:
            while head := await reader.read(2):
                query = dns.message.from_wire(await reader.readexactly(int.from_bytes(head, "big")))
                said = self._said_to(query)
                for packet in packets(said.response if said.tcp is UNSET else said.tcp, query):
                    writer.write(len(packet).to_bytes(2, "big") + packet)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    def _said_to(self, query: dns.message.Message) -> Question:
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        said = self._by_name.get(name)
        if said is not None and question.rdtype == dns.rdatatype.SRV:
            return said
        if name != f"{SRV_PREFIX}invalid":  # with which the bulk engine sees whether a resolver lives
            self.strange.append(f"{name} {dns.rdatatype.to_text(question.rdtype)}")
        return Question(name, {"rcode": "REFUSED"})


@asynccontextmanager
async def vector_server(vector: Vector) -> AsyncIterator[tuple[VectorServer, DnsSection]]:
    """Run one on a port of loopback; gives it and the settings of those who ask it."""
    server = VectorServer(vector)
    loop = asyncio.get_running_loop()
    while True:
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        address = listener.sockets[0].getsockname()
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=address)
        except OSError:  # another has this port for UDP
            listener.close()
            continue
        break
    try:
        yield (
            server,
            DnsSection(
                nameservers=("{}:{}".format(*address),),
                trusted=("loopback",) if vector.trusted_resolver else (),
                timeout=vector.seconds,
                retries=0,
                retry_delay=0,
            ),
        )
    finally:
        transport.close()
        listener.close()
        await listener.wait_closed()


def is_right(answer: Answer, expected: Route) -> bool:
    """Whether an answer is the one that a vector expects; of targets that chance puts in order, any right order is."""
    match answer:
        case Found(route):
            if expected.found_by_weight is not UNSET:
                return in_groups(route.endpoints, expected)
            is_same = expected.found is not UNSET and list(route.endpoints) == expected.found
            return is_same and _has(route.ttl, route.trust, expected)
        case Unroutable():
            return expected.refused is not UNSET
        case NoRoute(_, _, ttl, _, trust):
            return expected.none is not UNSET and _has(ttl, trust, expected)
        case CouldNotTell():
            return expected.could_not_tell is not UNSET


def in_groups(endpoints: tuple[Endpoint, ...], expected: Route) -> bool:
    """Whether the targets of each priority are together, in any order."""
    assert expected.found_by_weight is not UNSET
    left = list(endpoints)
    for group in expected.found_by_weight:
        some, left = left[: len(group)], left[len(group) :]
        if sorted(some) != sorted((onion, port) for onion, port, _ in group):
            return False
    return not left


def _has(ttl: int | None, trust: Trust | None, expected: Route) -> bool:
    is_signed = trust is Trust.DNSSEC
    return expected.ttl in (UNSET, ttl) and expected.signed in (UNSET, is_signed)
