"""Questions by UDP: each gets its own answer, or none, and none waits for another."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from onionmx.answer import Answer, Found, NoRoute
from onionmx.config import DnsSection, Resolver
from onionmx.dns.choice import Choice
from onionmx.dns.datagram import Datagrams
from onionmx.dns.srv import SrvResolver
from onionmx.dns.wire import ask_for, is_reply
from tests.dns.scripted import Query, ScriptedServer, reply, scripted_server
from tests.onions import make_onion

LONG = 3600.0
"""Seconds that no test waits for."""
A = make_onion("a")
GOOD = reply(f"_onion-mx._tcp.example.org. 60 IN SRV 0 0 25 {A}.")


class Far(Resolver):
    """A resolver that counts as one that is not on this host."""

    @property
    def is_loopback(self) -> bool:
        return False


def datagrams_to(resolver: Resolver) -> Datagrams:
    """Questions to this one."""
    return Datagrams(resolver, Choice((resolver,), are_believed=False))


def silent(_query: Query) -> None:
    """Say nothing."""


def run(test: Callable[[ScriptedServer, str, int], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(120), scripted_server({}) as (server, address):
            host, _, port = address.partition(":")
            await test(server, host, int(port))

    asyncio.run(whole())


def test_many_at_the_same_time() -> None:
    async def test(_server: ScriptedServer, host: str, port: int) -> None:
        datagrams = datagrams_to(Resolver(host, port))
        questions = [ask_for(f"d{number}.example") for number in range(100)]
        replies = await asyncio.gather(*(datagrams.ask(question, LONG) for question in questions))
        for question, packet in zip(questions, replies, strict=True):
            assert packet
            assert is_reply(packet, question)

    run(test)


def test_one_name_in_ten_hangs_and_the_others_are_answered_meanwhile() -> None:
    async def test(server: ScriptedServer, host: str, port: int) -> None:
        server.reactions = {f"_onion-mx._tcp.hanging{number}.example": silent for number in range(20)}
        resolver = SrvResolver(DnsSection(nameservers=(f"{host}:{port}",), timeout=300))
        hanging = [asyncio.create_task(resolver.ask(f"hanging{number}.example")) for number in range(20)]
        others: list[Answer] = await asyncio.gather(*(resolver.ask(f"d{number}.example") for number in range(180)))
        assert all(isinstance(answer, NoRoute) for answer in others)
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)

    run(test)


def test_silence() -> None:
    async def test(server: ScriptedServer, host: str, port: int) -> None:
        server.reactions["_onion-mx._tcp.example.org"] = silent
        assert await datagrams_to(Resolver(host, port)).ask(ask_for("example.org"), 0.05) is None

    run(test)


def test_forged_replies_are_passed_over() -> None:
    async def test(server: ScriptedServer, host: str, port: int) -> None:
        def react(query: Query) -> bytes | None:
            good = GOOD(query)
            assert good
            other_id, other_name = bytes([good[0] ^ 1]) + good[1:], good.replace(b"_tcp", b"_udp")
            for forged in (b"", b"x", other_id, other_name, good[:2] + b"\0" + good[3:]):
                server.send(forged)
            return good

        server.reactions["_onion-mx._tcp.example.org"] = react
        packet = await datagrams_to(Resolver(host, port)).ask(ask_for("example.org"), LONG)
        assert packet
        assert is_reply(packet, ask_for("example.org"))

    run(test)


def test_nobody_listens() -> None:
    async def whole() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        assert await datagrams_to(Resolver("127.0.0.1", port)).ask(ask_for("example.org"), LONG) is None

    asyncio.run(whole())


def test_a_port_for_each_question_where_others_are_on_the_way() -> None:
    async def ports(resolver: Resolver, server: ScriptedServer) -> int:
        server.addresses.clear()
        datagrams = datagrams_to(resolver)
        await asyncio.gather(*(datagrams.ask(ask_for(f"d{number}.example"), LONG) for number in range(10)))
        return len(server.addresses)

    async def test(server: ScriptedServer, host: str, port: int) -> None:
        assert await ports(Resolver(host, port), server) == 1
        assert await ports(Far(host, port), server) == 10

    run(test)


def test_port_is_closed_when_nobody_waits() -> None:
    async def test(server: ScriptedServer, host: str, port: int) -> None:
        server.reactions["_onion-mx._tcp.example.org"] = silent
        datagrams = datagrams_to(Resolver(host, port))
        asking = asyncio.create_task(datagrams.ask(ask_for("example.org"), LONG))
        await asyncio.sleep(0)
        assert datagrams._socket is not None  # noqa: SLF001 -- a descriptor that nothing else shows
        asking.cancel()
        await asyncio.wait((asking,))
        assert datagrams._socket is None  # noqa: SLF001

    run(test)


def test_found_by_the_short_way() -> None:
    async def test(server: ScriptedServer, host: str, port: int) -> None:
        server.reactions["_onion-mx._tcp.example.org"] = GOOD
        answer = await SrvResolver(DnsSection(nameservers=(f"{host}:{port}",))).ask("example.org")
        assert isinstance(answer, Found)
        assert answer.route.endpoints == ((A, 25),)
        assert len(server.questions) == 1

    run(test)


def test_second_resolver_when_the_first_fails() -> None:
    async def test(server: ScriptedServer, host: str, port: int) -> None:
        server.reactions["_onion-mx._tcp.example.org"] = reply(rcode="SERVFAIL")
        async with scripted_server({"_onion-mx._tcp.example.org": GOOD}) as (second, address):
            resolver = SrvResolver(DnsSection(nameservers=(f"{host}:{port}", address), trusted=()))
            assert isinstance(await resolver.ask("example.org"), Found)
            assert (len(server.questions), len(second.questions)) == (1, 1)

    run(test)
