"""HTTP: the pages, the faults, and what a client may not do."""

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import h11
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from onionmx.config import ServeSection, TorSection
from onionmx.serve import metrics
from onionmx.serve.connections import Connections
from onionmx.serve.http.connection import MAX_BODY, MAX_CONNECTIONS, HttpConnection, Request, Response
from onionmx.serve.http.host import is_for_this_machine
from onionmx.serve.listeners import Protocol
from onionmx.serve.metrics import Tally
from onionmx.tor.nobody import UNUSED_ONION
from tests.dns.scripted import reply, scripted_server
from tests.mapfile.maps import A, B
from tests.routing.scripted_dns import found, none, unknown
from tests.serve.service import PlayedParts, Service, netstrings, play


def request(target: str, method: str = "GET", *more: str) -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: localhost", *more, "", "")).encode()


def parse(data: bytes, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the only response in data."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "localhost")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    headers = {name.decode(): value.decode() for name, value in response.headers}
    return response.status_code, headers, body


async def get(
    service: Service, target: str, method: str = "GET", protocol: Protocol = Protocol.HTTP
) -> tuple[int, bytes]:
    status, _, body = parse(await service.ask(protocol, request(target, method)), method)
    return status, body


def test_routes(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        service.dns.answers["broken.example"] = unknown("broken.example")
        service.dns.answers["xn--bcher-kva.example"] = none("xn--bcher-kva.example")
        status, body = await get(service, "/routes/Example.ORG?x=1")
        route = json.loads(body)
        assert (status, route["answer"], route["source"]) == (200, "found", "map")
        assert [(target["onion"], target["port"]) for target in route["targets"]] == [(A, 25), (B, 2525)]
        status, body = await get(service, "/routes/b%C3%BCcher.example")
        assert (status, json.loads(body)["answer"]) == (200, "no route")
        status, body = await get(service, "/routes/broken.example")
        assert status == 503
        assert json.loads(body) == {
            "domain": "broken.example",
            "answer": "could not tell",
            "reason": "answered SERVFAIL",
        }
        status, body = await get(service, "/routes/waits.example")
        assert (status, json.loads(body)["answer"]) == (503, "could not tell")
        for junk in ("%2A", "a@b", "%ff", "-x-", "a/b", "a%00"):
            assert (await get(service, f"/routes/{junk}"))[0] == 400
        assert service.count("http", "found") == 1
        assert service.count("http", "temporary") == 2

    play(tmp_path, test)


def test_another_user_does_not_see_when_this_host_asked(tmp_path: Path) -> None:
    """What is left of a TTL, and that an answer is an old one, tell it; the control socket is the daemon's user's."""

    async def test(service: Service) -> None:
        service.dns.answers |= {"live.example": found("live.example"), "none.example": none("none.example")}
        for target in ("/routes/live.example", "/routes/example.org", "/routes/none.example"):
            _, body = await get(service, target)
            assert not {"ttl", "stale", "notes"} & set(json.loads(body))
            _, body = await get(service, target, protocol=Protocol.CONTROL)
            assert "ttl" in json.loads(body)

    play(tmp_path, test)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:10030", 200),
        ("127.0.0.1:10030", 200),
        ("[::1]:10030", 200),
        (socket.gethostname(), 200),
        ("prometheus", 200),
        ("evil.example", 421),
        ("evil.example:10030", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("localhost.", 421),
        ("127.0.0.1@evil.example", 421),
        ("[evil.example]", 421),
    ],
)
def test_page_of_a_stranger_reads_nothing(tmp_path: Path, host: str, status: int) -> None:
    """DNS rebinding: its own name leads here, and its reader's browser asks."""

    async def test(service: Service) -> None:
        for target in ("/metrics", "/routes/example.org"):
            data = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            answered, _, body = parse(await service.ask(Protocol.HTTP, data))
            assert answered == status
            assert (b"onion" in body) == (status == 200)

    play(tmp_path, test)


@pytest.mark.parametrize(
    ("host", "status"), [("mx.example.org", 200), ("MX.example.org:10030", 200), ("example.org", 421), ("x.y", 421)]
)
def test_names_that_the_administrator_has_given(tmp_path: Path, host: str, status: int) -> None:
    async def test(service: Service) -> None:
        data = f"GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        answered, _, body = parse(await service.ask(Protocol.HTTP, data))
        assert answered == status
        assert status == 200 or b"serve.http_names" in body

    play(tmp_path, test, http_names=("mx.example.org",))


@pytest.mark.parametrize("name", ["MX.example.org", "mx.example.org:10030", "mx example", "", "mx.example.org."])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match=r"serve.http_names|domain"):
        ServeSection(http_names=(name,))


labels = st.from_regex(r"[a-z0-9-]{1,10}", fullmatch=True)


@given(st.lists(labels, min_size=1, max_size=3), st.from_regex(r"[a-z]{2,6}", fullmatch=True), st.integers(0, 65535))
def test_no_domain_is_this_machine(parts: list[str], top: str, port: int) -> None:
    domain = ".".join((*parts, top))
    for host in (domain, f"{domain}:{port}", domain.upper(), f"[{domain}]", f" {domain}"):
        assert is_for_this_machine(host) == (domain == socket.gethostname().lower() and "[" not in host)


@given(st.text(max_size=30))
def test_any_host(host: str) -> None:
    is_for_this_machine(host)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_is_this_machine(address: IPv4Address | IPv6Address, port: int) -> None:
    written = f"[{address}]" if address.version == 6 else str(address)
    assert is_for_this_machine(written)
    assert is_for_this_machine(f"{written}:{port}")


def test_a_route_that_takes_too_long(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        status, body = await get(service, "/routes/hanging.example")
        assert status == 503
        assert json.loads(body)["reason"] == "no answer within 0.05 s"

    play(tmp_path, test, timeout=0.05)


def test_metrics(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        service.dns.answers["live.example"] = found("live.example")
        for _ in range(2):
            await service.ask(Protocol.SOCKETMAP, netstrings(b"t example.org", b"t live.example", b"t *", b"x"))
        status, body = await get(service, "/metrics")
        assert status == 200
        samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }
        assert samples["onionmx_lookup_requests_total", "found", "socketmap"] == 4
        assert samples["onionmx_lookup_requests_total", "none", "socketmap"] == 2
        assert samples["onionmx_lookup_malformed_total", "socketmap"] == 2
        assert samples["onionmx_lookup_seconds_count", "socketmap"] == 8
        assert samples["onionmx_lookup_connections", "http"] == 1
        assert samples["onionmx_lookup_connections_opened_total", "socketmap"] == 2
        assert samples["onionmx_lookup_cache_entries",] == 1
        assert samples["onionmx_lookup_cache_events_total", "hit"] == 1
        assert samples["onionmx_lookup_cache_events_total", "miss"] == 1
        assert samples["onionmx_lookup_map_written_seconds",] > 0
        assert "process_open_fds" in body.decode()
        for line in body.decode().splitlines():
            if line.startswith("# TYPE onionmx_lookup"):
                assert f"`{line.split()[2]}" in str(metrics.__doc__)

    play(tmp_path, test)


def test_health_names_what_does_not_work(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        status, body = await get(service, "/healthz")
        health = json.loads(body)
        assert (status, health["healthy"]) == (503, False)
        assert health["parts"]["map"]["ok"]
        assert health["parts"]["resolver"] == {"ok": True, "seen": "not asked: lookup.live is off"}
        assert not health["parts"]["tor"]["ok"]

    play(tmp_path, test)


def test_health_looks_at_the_dnsport_where_clients_need_it(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        async def health() -> dict[str, object]:
            service.service.use(PlayedParts(service.configuration, service.router))  # to have it looked at again
            _, body = await get(service, "/healthz")
            part: dict[str, object] = json.loads(body)["parts"]["dnsport"]
            return part

        assert await health() == {"ok": True, "seen": "not asked: no client has asked for the addresses of onions"}
        async with scripted_server({UNUSED_ONION: reply(f"{UNUSED_ONION}. 60 IN A 127.200.0.1")}) as (_, address):
            tor = TorSection(dnsport=address)
            service.configuration = replace(service.configuration, tor=tor)
            await service.ask(Protocol.READSOCKET, b"hosts example.org\n")
            assert await health() == {"ok": True, "seen": "gives onions addresses such as 127.200.0.1"}
        silent = await health()
        assert not silent["ok"]
        assert "is tor running?" in str(silent["seen"])

    play(tmp_path, test)


def test_health_is_looked_at_once_for_many(tmp_path: Path) -> None:
    greetings = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greetings.append(await reader.readexactly(3))
        writer.write(b"\x05\x00")
        writer.close()

    async def test(service: Service) -> None:
        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            tor = TorSection(socks=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
            service.service.use(PlayedParts(replace(service.configuration, tor=tor), service.router))
            answers = await asyncio.gather(*(get(service, "/healthz") for _ in range(20)))
        assert {status for status, _ in answers} == {200}
        assert greetings == [b"\x05\x01\x00"]

    play(tmp_path, test)


def test_the_control_socket_and_only_it_has_the_cache(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        service.dns.answers["live.example"] = found("live.example", 100)
        assert (await get(service, "/routes/live.example"))[0] == 200
        for target in ("/cache", "/cache/stats", "/cache/live.example"):
            assert (await get(service, target))[0] == 404
        _, body = await get(service, "/cache", protocol=Protocol.CONTROL)
        (entry,) = json.loads(body)
        assert entry["domain"] == "live.example"
        assert 90 < entry["remaining"] <= 100
        _, body = await get(service, "/cache/stats", protocol=Protocol.CONTROL)
        assert json.loads(body)["size"] == 1
        for purged in (True, False):
            status, body = await get(service, "/cache/Live.example", "DELETE", Protocol.CONTROL)
            assert (status, json.loads(body)) == (200, {"domain": "live.example", "purged": purged})
        assert (await get(service, "/cache/%2A", "DELETE", Protocol.CONTROL))[0] == 400
        assert (await get(service, "/cache/live.example", "GET", Protocol.CONTROL))[0] == 405
        assert (await get(service, "/routes/example.org", "GET", Protocol.CONTROL))[0] == 200

    play(tmp_path, test)


@pytest.mark.parametrize(
    "target", ["//", "/routes", "/routes/", "/metrics/x", "/health", "*", "http://localhost/metrics"]
)
def test_there_is_nothing_else(tmp_path: Path, target: str) -> None:
    async def test(service: Service) -> None:
        assert (await get(service, target))[0] == 404

    play(tmp_path, test)


def test_methods(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        status, headers, body = parse(await service.ask(Protocol.HTTP, request("/metrics", "POST")), "POST")
        assert (status, headers["allow"]) == (405, "GET, HEAD")
        data = await service.ask(Protocol.HTTP, request("/routes/example.org", "HEAD"))
        status, headers, body = parse(data, "HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 100

    play(tmp_path, test)


def test_requests_of_one_connection_in_any_pieces(tmp_path: Path) -> None:
    data = (
        request("/routes/example.org") + request("/none") + request("/routes/example.org", "GET", "Connection: close")
    )

    async def test(service: Service) -> None:
        whole = await service.ask(Protocol.HTTP, data)
        assert whole.count(b"HTTP/1.1 200 OK") == 2
        assert whole.count(b"HTTP/1.1 404 Not Found") == 1
        reader, writer = await service.connect(Protocol.HTTP)
        for position in range(len(data)):
            writer.write(data[position : position + 1])
            await writer.drain()
        assert await reader.read() == whole
        writer.close()

    play(tmp_path, test)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_client_that_does_not_read_gets_no_more_answers(run: Callable[[Coroutine[None, None, None]], None]) -> None:
    """Requests without end in one packet, their answers never read, would fill the memory."""
    many, size = 400, 100_000

    async def whole() -> None:
        waiting: list[int] = []
        made: list[HttpConnection] = []

        async def respond(_request: Request) -> Response:
            transport = made[0]._transport  # noqa: SLF001
            waiting.append(transport.get_write_buffer_size())
            return Response(HTTPStatus.OK, bytes(size))

        def connect() -> HttpConnection:
            made.append(HttpConnection(respond, Tally("http"), Connections(MAX_CONNECTIONS)))
            return made[0]

        bound = socket.create_server(("127.0.0.1", 0))
        server = await asyncio.get_running_loop().create_server(connect, sock=bound)
        reader, writer = await asyncio.open_connection(*bound.getsockname(), limit=size)
        writer.write(request("/") * (many - 1) + request("/", "GET", "Connection: close"))
        for _ in range(10 * many):  # turns of the loop, in each of which it could answer
            await asyncio.sleep(0)
        for _ in range(many):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(size)
        assert len(waiting) == many
        assert max(waiting) <= 3 * size, "what the kernel has taken does not count"
        writer.close()
        server.close()
        await made[0].closed

    run(whole())


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000, 431),
        (b"GET /" + b"a" * 1_000_000, 431),
        (b"\0\r\n\r\n", 400),
        (b"27:transport user@example.org,\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (request("/metrics", "POST", f"Content-Length: {2 * MAX_BODY}") + b"x" * 2 * MAX_BODY, 413),
    ],
)
def test_bad_input_is_refused_and_counted(tmp_path: Path, data: bytes, status: int) -> None:
    async def test(service: Service) -> None:
        reader, writer = await service.connect(Protocol.HTTP)
        writer.write(data)
        head = await reader.readuntil(b"\r\n")
        assert int(head.split()[1]) == status
        writer.write_eof()
        await reader.read()
        writer.close()
        assert service.count("http", "malformed") == 1

    play(tmp_path, test)


def test_silent_connections_make_room(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        connections = [await service.connect(Protocol.HTTP) for _ in range(MAX_CONNECTIONS)]
        # The last one is known to be in only when it is answered.
        connections[-1][1].write(request("/none"))
        assert b"404" in await connections[-1][0].readline()
        assert b"404" in await service.ask(Protocol.HTTP, request("/none"))
        assert await connections[0][0].read() == b"", "the one that was silent longest"
        assert service.count("http", "ended") == 1
        for _, writer in connections:
            writer.close()

    play(tmp_path, test)


def test_a_mistake_of_ours_tells_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test(service: Service) -> None:
        def broken() -> None:
            raise RuntimeError("secret")

        service.router.check = broken  # type: ignore[method-assign]
        status, body = await get(service, "/healthz")
        assert status == 500
        assert b"secret" not in body

    play(tmp_path, test)
    assert "secret" in caplog.text


class Wire(asyncio.Transport):
    """A transport that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def write_eof(self) -> None:
        """Nothing follows."""

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """Nobody reads."""

    def resume_reading(self) -> None:
        """Nobody reads."""

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


async def not_found(_request: Request) -> Response:
    return Response.plain(HTTPStatus.NOT_FOUND, "nothing")


heads = st.from_regex(
    rb"(GET|POST|HEAD) /[a-z%]{0,5} HTTP/1\.[01]\r\n(Host: x\r\n)?(Content-Length: [0-9]{1,3}\r\n)?\r\n"
)


@settings(max_examples=200)
@given(st.lists(st.one_of(st.binary(max_size=50), heads), max_size=8))
def test_fuzz(pieces: list[bytes]) -> None:
    """Whatever comes in: no exception, and what goes out is HTTP or nothing."""

    async def run() -> None:
        wire = Wire()
        connection = HttpConnection(not_found, Tally("http"), Connections(1))
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)
                await asyncio.sleep(0)
        connection.eof_received()
        connection.connection_lost(None)
        assert not wire.written or wire.written.startswith(b"HTTP/1.1 ")

    asyncio.run(run())
