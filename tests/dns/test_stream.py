"""DNS over TLS, and over connections that stay open."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import dns.flags
import pytest

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.config import DnsSection
from onionmx.dns.srv import SrvResolver
from onionmx.errors import ConfigurationError
from onionmx.target import Trust
from tests.dns.scripted import Query, Reaction, ScriptedStreams, reply, scripted_streams
from tests.net.certificates import NOW, Issued, issue
from tests.onions import make_onion

A = make_onion("a")
NAME = "_onion-mx._tcp.example.org"
RECORD = f"{NAME}. 3600 IN SRV 0 5 25 {A}."
GOOD = reply(RECORD)
VALIDATED = reply(RECORD, flags=dns.flags.RA | dns.flags.AD)
RESOLVER = "resolver.example"


def silent(_query: Query) -> None:
    """Say nothing."""


class Authority:
    """A CA, and the certificate of a resolver."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = issue(is_ca=True)
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self.ca.pem)

    def context(self, issued: Issued | None = None) -> ssl.SSLContext:
        return (issued or issue(RESOLVER, ca=self.ca)).context(self.folder)

    def settings(self, port: int, name: str = RESOLVER, timeout: float = 60, *, trusted: bool = False) -> DnsSection:
        nameservers = (f"tls://127.0.0.1:{port}#{name}",)
        return DnsSection(
            nameservers=nameservers,
            timeout=timeout,
            tls_ca_file=str(self.ca_file),
            trusted=nameservers if trusted else (),
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


Test = Callable[[ScriptedStreams, int], Awaitable[None]]


def run(test: Test, reactions: dict[str, Reaction], tls: ssl.SSLContext) -> None:
    async def whole() -> None:
        async with asyncio.timeout(120), scripted_streams(reactions, tls) as (server, port):
            await test(server, port)

    asyncio.run(whole())


def ask(authority: Authority, reaction: Reaction, timeout: float = 60, *, trusted: bool = False) -> Answer:
    answers: list[Answer] = []

    async def test(_server: ScriptedStreams, port: int) -> None:
        resolver = SrvResolver(authority.settings(port, timeout=timeout, trusted=trusted))
        answers.append(await resolver.ask("example.org"))
        resolver.close()

    run(test, {NAME: reaction}, authority.context())
    return answers[0]


@pytest.mark.parametrize(
    ("reaction", "trusted", "trust"),
    [(GOOD, True, Trust.UNSIGNED), (VALIDATED, True, Trust.DNSSEC), (VALIDATED, False, Trust.UNSIGNED)],
)
def test_found_over_tls(authority: Authority, reaction: Reaction, trust: Trust, *, trusted: bool) -> None:
    answer = ask(authority, reaction, trusted=trusted)
    assert isinstance(answer, Found)
    assert (answer.route.endpoints, answer.route.trust) == (((A, 25),), trust)


def test_no_route_over_tls(authority: Authority) -> None:
    assert isinstance(ask(authority, reply(rcode="NXDOMAIN")), NoRoute)


@pytest.mark.parametrize(
    ("reaction", "why"),
    [
        (reply(rcode="SERVFAIL"), "answered SERVFAIL"),
        (silent, "no answer"),
        (lambda _query: b"", "no answer"),
        (lambda query: (GOOD(query) or b"")[:20], ""),
        (lambda query: b"\0\0" + (GOOD(query) or b"")[2:], "no answer"),
        (reply(f"_onion-mx._tcp.example.net. 60 IN SRV 0 0 25 {A}."), "for another name"),
        (reply(RECORD, flags=dns.flags.TC), "truncated even over TCP"),
        (reply(flags=0, authority=("example.org. 60 IN NS ns.example.org.",)), "lame"),
        (lambda query: (GOOD(query) or b"")[:12] + b"\x09_other-mx" + (GOOD(query) or b"")[22:], "another question"),
    ],
)
def test_faults_over_tls_are_could_not_tell(authority: Authority, reaction: Reaction, why: str) -> None:
    # What never comes may have a short limit, and the handshake before it must not.
    answer = ask(authority, reaction, timeout=3 if why == "no answer" else 60)
    assert isinstance(answer, CouldNotTell)
    assert why in answer.reason
    assert "\n" not in answer.reason


@pytest.mark.parametrize(
    ("names", "more", "why"),
    [
        (("other.example",), {}, "its certificate cannot be trusted: Hostname mismatch"),
        ((RESOLVER,), {"end": NOW - timedelta(days=1)}, "its certificate cannot be trusted: certificate has expired"),
        ((RESOLVER,), {"ca": issue(is_ca=True)}, "its certificate cannot be trusted: certificate signature failure"),
    ],
)
def test_resolver_that_does_not_show_who_it_is(
    authority: Authority, names: tuple[str, ...], more: dict[str, object], why: str
) -> None:
    async def test(server: ScriptedStreams, port: int) -> None:
        answer = await SrvResolver(authority.settings(port)).ask("example.org")
        assert isinstance(answer, CouldNotTell)
        assert f"127.0.0.1 port {port} over TLS as {RESOLVER}: {why}" in answer.reason
        assert server.questions == [], "nothing was asked"

    certificate = issue(*names, **({"ca": authority.ca} | more))  # type: ignore[arg-type]
    run(test, {NAME: GOOD}, authority.context(certificate))


def test_resolver_without_tls(authority: Authority) -> None:
    async def whole() -> None:
        async def say_hello(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 this is no resolver\r\n" * 10)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(say_hello, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            answer = await SrvResolver(authority.settings(port)).ask("example.org")
        assert isinstance(answer, CouldNotTell)
        assert "TLS failed" in answer.reason

    asyncio.run(whole())


def test_nobody_listens(authority: Authority) -> None:
    async def whole() -> None:
        answer = await SrvResolver(authority.settings(1)).ask("example.org")
        assert isinstance(answer, CouldNotTell)
        assert "no resolver could answer; 127.0.0.1 port 1 over TLS" in answer.reason

    asyncio.run(whole())


def test_one_connection_for_many_questions(authority: Authority) -> None:
    async def test(server: ScriptedStreams, port: int) -> None:
        resolver = SrvResolver(authority.settings(port))
        domains = [f"d{number}.example" for number in range(50)]
        answers = await asyncio.gather(*map(resolver.ask, domains))
        assert all(isinstance(answer, NoRoute) for answer in answers)
        assert await resolver.ask("example.org")
        assert len(server.questions) == 51
        assert len(server.connections) == 1
        resolver.close()

    run(test, {NAME: GOOD}, authority.context())


def test_hanging_question_holds_up_no_other(authority: Authority) -> None:
    async def test(server: ScriptedStreams, port: int) -> None:
        resolver = SrvResolver(authority.settings(port, timeout=60))
        hanging = asyncio.create_task(resolver.ask("hanging.example"))
        while not server.questions:  # noqa: ASYNC110 -- the server has no event for a test that has none to wait for
            await asyncio.sleep(0.001)
        answers = await asyncio.gather(*(resolver.ask(f"d{number}.example") for number in range(100)))
        assert all(isinstance(answer, NoRoute) for answer in answers)
        assert not hanging.done()
        hanging.cancel()
        resolver.close()

    run(test, {"_onion-mx._tcp.hanging.example": silent}, authority.context())


def test_connection_that_the_resolver_closed_is_opened_again(authority: Authority) -> None:
    async def test(server: ScriptedStreams, port: int) -> None:
        resolver = SrvResolver(authority.settings(port))
        for count in range(1, 4):
            assert isinstance(await resolver.ask("example.org"), Found)
            assert len(server.connections) == count
            server.hang_up()
        resolver.close()

    run(test, {NAME: GOOD}, authority.context())


def test_connection_that_died_in_silence_is_left(authority: Authority) -> None:
    async def test(server: ScriptedStreams, port: int) -> None:
        resolver = SrvResolver(authority.settings(port, timeout=9))
        assert isinstance(await resolver.ask("example.org"), Found)
        server.reactions[NAME] = first_is_lost()
        assert isinstance(await resolver.ask("example.org"), Found)
        assert len(server.connections) == 2
        resolver.close()

    def first_is_lost() -> Reaction:
        lost: list[Query] = []

        def react(query: Query) -> bytes | None:
            lost.append(query)
            return GOOD(query) if len(lost) > 1 else None

        return react

    run(test, {NAME: GOOD}, authority.context())


def test_closing_ends_questions(authority: Authority) -> None:
    async def test(server: ScriptedStreams, port: int) -> None:
        resolver = SrvResolver(authority.settings(port, timeout=60))
        asking = asyncio.create_task(resolver.ask("example.org"))
        while not server.questions:  # noqa: ASYNC110 -- the server has no event for a test that has none to wait for
            await asyncio.sleep(0.001)
        resolver.close()
        assert isinstance(await asking, CouldNotTell)

    run(test, {NAME: silent}, authority.context())


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), ("no PEM", "no certificates in PEM")])
def test_authorities_that_cannot_be_read(tmp_path: Path, content: str | None, why: str) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=rf"dns\.tls_ca_file .*ca\.pem cannot be used: {why}"):
        SrvResolver(DnsSection(nameservers=("tls://127.0.0.1#resolver.example",), tls_ca_file=str(path)))
