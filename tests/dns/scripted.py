"""A DNS server that does as a test says: for faults that a real server does not produce on demand."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset

Query = dns.message.Message
Reaction = Callable[[Query], bytes | None]
"""Makes the packet to send back, or `None` to stay silent."""


def reply(*answer: str, rcode: str = "NOERROR", flags: int = dns.flags.RA, authority: tuple[str, ...] = ()) -> Reaction:
    """React with these records, each a line of a zone file."""

    def react(query: Query) -> bytes:
        response = dns.message.make_response(query)
        response.flags |= flags
        response.set_rcode(dns.rcode.from_text(rcode))
        response.answer = [record(line) for line in answer]
        response.authority = [record(line) for line in authority]
        return response.to_wire()

    return react


def record(line: str) -> dns.rrset.RRset:
    name, ttl, _, kind, data = line.split(maxsplit=4)
    return dns.rrset.from_text(name, int(ttl), "IN", kind, data)


class ScriptedServer(asyncio.DatagramProtocol):
    """Answers UDP questions by name.

    Args:
        reactions: by name of the question; other names get NXDOMAIN.
    """

    def __init__(self, reactions: dict[str, Reaction]) -> None:
        self.reactions = reactions
        self.questions: list[tuple[str, str]] = []
        self.addresses: set[tuple[str, int]] = set()
        """Of those who asked."""
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def send(self, packet: bytes) -> None:
        """Send one more packet to everybody who asked."""
        assert self._transport
        for address in self.addresses:
            self._transport.sendto(packet, address)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.addresses.add(address)
        query = dns.message.from_wire(data)
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True)
        self.questions.append((name, dns.rdatatype.to_text(question.rdtype)))
        packet = self.reactions.get(name, reply(rcode="NXDOMAIN"))(query)
        if packet is not None and self._transport:
            self._transport.sendto(packet, address)


@asynccontextmanager
async def scripted_server(reactions: dict[str, Reaction]) -> AsyncIterator[tuple[ScriptedServer, str]]:
    """Run a scripted server; gives it and its address as `dns.nameservers` takes it."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: ScriptedServer(reactions), local_addr=("127.0.0.1", 0)
    )
    try:
        host, port = transport.get_extra_info("sockname")
        yield server, f"{host}:{port}"
    finally:
        transport.close()


class ScriptedStreams:
    """Answers questions over TCP or TLS by name, each in its time, on any number of connections."""

    def __init__(self, reactions: dict[str, Reaction]) -> None:
        self.reactions = reactions
        self.questions: list[str] = []
        self.connections: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            while head := await reader.read(2):
                query = dns.message.from_wire(await reader.readexactly(int.from_bytes(head, "big")))
                name = query.question[0].name.to_text(omit_final_dot=True)
                self.questions.append(name)
                packet = self.reactions.get(name, reply(rcode="NXDOMAIN"))(query)
                if packet is not None:
                    writer.write(len(packet).to_bytes(2, "big") + packet)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    def hang_up(self) -> None:
        """Close all connections."""
        for writer in self.connections:
            writer.transport.abort()


@asynccontextmanager
async def scripted_streams(
    reactions: dict[str, Reaction], tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[ScriptedStreams, int]]:
    """Run a scripted server on loopback; gives it and its port."""
    server = ScriptedStreams(reactions)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server, listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        server.hang_up()
        await listener.wait_closed()
