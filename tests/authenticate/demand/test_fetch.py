"""Fetching policies from a real HTTPS server."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from onionmx.authenticate.demand.authorities import Authorities
from onionmx.authenticate.demand.fetch import Connect, FetchError, directly, fetch_policy, through_tor
from onionmx.authenticate.demand.policy import MAX_POLICY_SIZE, Mode, Policy, PolicyError
from onionmx.config import DnsSection
from onionmx.dns.records import RecordResolver
from onionmx.errors import ConfigurationError
from onionmx.onion import Endpoint
from onionmx.tor.socks import SocksConnector
from tests.authenticate.policy_host import PolicyHost, policy_host
from tests.dns.scripted import reply, scripted_server
from tests.net.certificates import NOW, Issued, issue
from tests.relay.peer import Peer, running

CA = issue(is_ca=True)
NAME = "mta-sts.example.org"
PATIENCE = 120.0
URL = f"https://{NAME}/.well-known/mta-sts.txt"


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    return Authorities(str(tmp_path / "ca.pem"))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[PolicyHost]:
    with policy_host(issue(NAME, ca=CA), tmp_path) as running_host:
        yield running_host


def to(address: tuple[str, int]) -> Connect:
    """Connect there, whatever is wanted, which has to be the policy host."""

    async def connect(endpoint: Endpoint) -> socket.socket:
        assert endpoint == (NAME, 443)
        connection = socket.socket()
        connection.settimeout(0)
        await asyncio.get_running_loop().sock_connect(connection, address)
        return connection

    return connect


def fetch(connect: Connect, authorities: Authorities, patience: float = PATIENCE) -> Policy | None:
    return asyncio.run(fetch_policy("example.org", connect, authorities.https, patience))


def test_policy(host: PolicyHost, authorities: Authorities) -> None:
    policy = fetch(to(host.address), authorities)
    assert policy == Policy(Mode.ENFORCE, ("mx.example.org", "*.backup.example"), 604800)
    assert host.requests == [("GET /.well-known/mta-sts.txt HTTP/1.1", NAME)]


@pytest.mark.parametrize("status", [404, 410])
def test_host_says_that_there_is_none(host: PolicyHost, authorities: Authorities, status: int) -> None:
    host.status = status
    assert fetch(to(host.address), authorities) is None


def redirect(host: PolicyHost) -> None:
    host.status, host.headers = 302, {"Location": f"https://{NAME}/other"}


def fail(host: PolicyHost) -> None:
    host.status = 503


def be_html(host: PolicyHost) -> None:
    host.headers = {"Content-Type": "text/html"}


def be_untyped(host: PolicyHost) -> None:
    host.headers = {}


def be_large(host: PolicyHost) -> None:
    host.content += b"#" * MAX_POLICY_SIZE


def be_nonsense(host: PolicyHost) -> None:
    host.content = b"hello"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (redirect, "answered 302; expected 200"),
        (fail, "answered 503; expected 200"),
        (be_html, "the content is text/html; expected text/plain"),
        (be_untyped, "the content is nothing; expected text/plain"),
        (be_large, "larger than 65536 bytes"),
        (be_nonsense, "line 'hello' of the policy has no colon"),
    ],
)
def test_no_policy(host: PolicyHost, authorities: Authorities, fault: Callable[[PolicyHost], None], words: str) -> None:
    fault(host)
    with pytest.raises((FetchError, PolicyError)) as error:
        fetch(to(host.address), authorities)
    assert str(error.value).startswith(f"{URL}: ")
    assert words in str(error.value)
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        (issue(NAME), "self-signed certificate"),
        (issue("mta-sts.example.com", ca=CA), "Hostname mismatch"),
        (issue("example.org", ca=CA), "Hostname mismatch"),
        (issue(ca=CA, common_name=NAME), "Hostname mismatch"),
        (issue(NAME, ca=CA, end=NOW - timedelta(1)), "certificate has expired"),
        (issue(NAME, ca=issue(is_ca=True, common_name="Other")), "unable to get local issuer certificate"),
    ],
)
def test_host_that_is_somebody_else(authorities: Authorities, tmp_path: Path, certificate: Issued, words: str) -> None:
    with policy_host(certificate, tmp_path) as host, pytest.raises(FetchError) as error:
        fetch(to(host.address), authorities)
    assert "its certificate cannot be trusted" in str(error.value)
    assert words in str(error.value)
    assert host.requests == []


@pytest.mark.parametrize("said", [b"", b"220 mx.example ESMTP\r\n"])
def test_host_without_tls(authorities: Authorities, said: bytes) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            connect = to(server.sockets[0].getsockname())
            await fetch_policy("example.org", connect, authorities.https, PATIENCE)

    with pytest.raises(FetchError, match=f"{URL}: TLS failed: "):
        asyncio.run(run())


@pytest.mark.parametrize(
    "said",
    [b"", b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9999],
)
def test_answer_that_is_not_http(authorities: Authorities, tmp_path: Path, said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async def run() -> None:
        context = issue(NAME, ca=CA).context(tmp_path)
        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
            connect = to(server.sockets[0].getsockname())
            await fetch_policy("example.org", connect, authorities.https, PATIENCE)

    with pytest.raises(FetchError, match=URL) as error:
        asyncio.run(run())
    assert str(error.value).isprintable()


def test_host_that_never_answers(authorities: Authorities) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(FetchError, match=r"not there within 0\.3 s"):
        fetch(to(silent.getsockname()), authorities, 0.3)


@pytest.mark.parametrize(
    ("reply_code", "words"),
    [
        (2, "authenticate.socks must name a SocksPort without OnionTrafficOnly"),
        (4, "tor found no exit"),
        (1, "general"),
    ],
)
def test_tor_does_not_reach_it(authorities: Authorities, reply_code: int, words: str) -> None:
    async def run() -> list[tuple[str, int]]:
        async with running(Peer(socks=reply_code)) as peer:
            connector = SocksConnector(f"127.0.0.1:{peer.port}", PATIENCE)
            try:
                with pytest.raises(FetchError, match=words):
                    await fetch_policy("example.org", through_tor(connector), authorities.https, PATIENCE)
            finally:
                connector.close()
            return peer.targets

    assert asyncio.run(run()) == [(NAME, 443)], "the name goes to tor, which resolves it at the exit"


@pytest.mark.parametrize(
    ("reaction", "words"),
    [
        (reply(f"{NAME}. 60 IN A 127.0.0.1"), "127.0.0.1 is not an address of the internet"),
        (reply(f"{NAME}. 60 IN A 127.0.0.1", f"{NAME}. 60 IN A 10.0.0.1"), "is not an address of the internet"),
        (reply(f"{NAME}. 60 IN A 169.254.169.254"), "169.254.169.254 is not an address of the internet"),
        (reply(rcode="SERVFAIL"), f"{NAME} A: "),
        (reply(rcode="NXDOMAIN"), "it has no address"),
    ],
)
def test_direct(authorities: Authorities, reaction: Callable[..., bytes], words: str) -> None:
    async def run() -> list[tuple[str, str]]:
        async with scripted_server({NAME: reaction}) as (server, address):
            connect = directly(RecordResolver(DnsSection(nameservers=(address,), timeout=30.0)))
            with pytest.raises(FetchError, match=words):
                await fetch_policy("example.org", connect, authorities.https, PATIENCE)
            return server.questions

    assert {kind for _, kind in asyncio.run(run())} == {"A", "AAAA"}


def test_address_where_nobody_listens(authorities: Authorities) -> None:
    async def run() -> None:
        async with scripted_server({NAME: reply(f"{NAME}. 60 IN A 127.0.0.1")}) as (_, address):
            connect = directly(RecordResolver(DnsSection(nameservers=(address,), timeout=30.0)), lambda _: True)
            with pytest.raises(FetchError, match=r"127\.0\.0\.1: "):
                await fetch_policy("example.org", connect, authorities.https, PATIENCE)

    asyncio.run(run())


@pytest.mark.parametrize("content", [b"no certificate", None])
def test_authorities_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"authenticate.ca_file {file} cannot be used: "):
        Authorities(str(file))
