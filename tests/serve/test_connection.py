"""Connections of MTAs: order, concurrency, limits, faults, and the same answer in every protocol."""

import asyncio
import logging
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from onionmx.config import TorSection
from onionmx.routing.cache import CacheEntry
from onionmx.serve.connection import QUEUE
from onionmx.serve.listeners import Protocol
from tests.mapfile.maps import A, B
from tests.net.stranger import root_only, stranger
from tests.onions import IMPOSSIBLE_ONIONS, V3_ONION
from tests.routing.scripted_dns import TARGETS, found, none, unknown
from tests.serve.service import RESULT, Service, netstrings, play

Asking = Callable[[Service, str], Awaitable[bytes]]


async def socketmap(service: Service, key: str) -> bytes:
    return await service.ask(Protocol.SOCKETMAP, netstrings(f"transport {key}".encode()))


async def tcp_table(service: Service, key: str) -> bytes:
    return await service.ask(Protocol.TCP_TABLE, f"get {key}\n".encode())


async def readsocket(service: Service, key: str) -> bytes:
    return await service.ask(Protocol.READSOCKET, f"route {key}".encode())


@pytest.mark.parametrize(
    ("key", "answers"),
    [
        ("user@example.org", (b"29:OK " + RESULT + b",", b"200 " + RESULT, f"found {A} {B}:2525".encode())),
        ("EXAMPLE.ORG.", (b"29:OK " + RESULT + b",", b"200 " + RESULT, f"found {A} {B}:2525".encode())),
        (f"user@{V3_ONION}", (b"29:OK " + RESULT + b",", b"200 " + RESULT, f"found {V3_ONION}".encode())),
        ("user@own.example", (b"9:NOTFOUND ,", b"500 ", b"none local domain")),
        ("*", (b"9:NOTFOUND ,", b"500 ", b"none ")),
        ("", (b"9:NOTFOUND ,", b"500 ", b"none ")),
        ("user@[192.0.2.1]", (b"9:NOTFOUND ,", b"500 ", b"none ")),
        # "Not found" would make the MTA ask the open DNS.
        *((name, (b":OK error:5.1.2 ", b"200 error:5.1.2%20", b"refuse ")) for name in IMPOSSIBLE_ONIONS.values()),
        (f"user@a.b.{V3_ONION}", (b"29:OK " + RESULT + b",", b"200 " + RESULT, f"found {V3_ONION}".encode())),
        ("mapped.onion", (b"29:OK " + RESULT + b",", b"200 " + RESULT, f"found {A}".encode())),
        # Postfix asks for its parent next when it has heard that a local domain is not found.
        ("own.onion", (b"9:NOTFOUND ,", b"500 ", b"defer a local domain of onionmx that the MTA")),
        (".onion", (b"9:NOTFOUND ,", b"500 ", b"none ")),
        ("user@\u2603.example", (b":TEMP not a domain that IDNA", b"400 not%20a%20domain", b"defer not a domain")),
        ("user@waits.example", (b":TEMP its record names", b"400 its%20record", b"defer its record names an onion MX")),
        ("live.example", (b"29:OK " + RESULT + b",", b"200 " + RESULT, f"found {TARGETS[0].onion}".encode())),
        ("none.example", (b"9:NOTFOUND ,", b"500 ", b"none no such name in DNS")),
        ("broken.example", (b":TEMP answered SERVFAIL,", b"400 answered%20SERVFAIL", b"defer answered SERVFAIL")),
    ],
)
def test_the_same_answer_in_every_protocol(tmp_path: Path, key: str, answers: tuple[bytes, ...]) -> None:
    async def test(service: Service) -> None:
        service.dns.answers["live.example"] = found("live.example")
        service.dns.answers["none.example"] = none("none.example")
        service.dns.answers["broken.example"] = unknown("broken.example")
        for ask, expected in zip((socketmap, tcp_table, readsocket), answers, strict=True):
            assert expected in await ask(service, key)

    play(tmp_path, test)


@pytest.mark.parametrize(
    ("protocol", "data"),
    [
        (Protocol.SOCKETMAP, netstrings(b"t example.org", b"t slow.example", b"t none", b"x", b"t example.org")),
        (Protocol.TCP_TABLE, b"get example.org\nget slow.example\nget none\nput\nget example.org\n"),
        (Protocol.READSOCKET, b"route example.org\nroute slow.example\nroute none\nx\nroute example.org\n"),
    ],
)
def test_answers_leave_in_order_whatever_takes_longest(tmp_path: Path, protocol: Protocol, data: bytes) -> None:
    async def test(service: Service) -> None:
        service.dns.answers["none"] = none("none")
        asking = asyncio.create_task(service.ask(protocol, data))
        await service.dns.reply(found("slow.example"))
        whole = await asking
        reader, writer = await service.connect(protocol)
        for position in range(len(data)):
            writer.write(data[position : position + 1])
            await writer.drain()
            if protocol is Protocol.READSOCKET and data[position : position + 1] == b"\n":
                break  # one exchange: it may be over now
        else:
            writer.write_eof()
        byte_by_byte = await reader.read()
        writer.close()
        assert whole.startswith(byte_by_byte) if protocol is Protocol.READSOCKET else whole == byte_by_byte
        kinds = {"OK": "found", "200": "found", "NOTFOUND": "none", "500": "none", "PERM": "fault", "400": "fault"}
        words = re.findall(r"(?:\d+:|^)(OK|NOTFOUND|PERM|200|500|400|found|none|defer) ", whole.decode(), re.MULTILINE)
        read = [kinds.get(word, word).replace("defer", "fault") for word in words]
        assert read == ["found", "found", "none", "fault", "found"]

    play(tmp_path, test)


def test_a_hanging_question_holds_up_no_other_connection(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        hanging = asyncio.create_task(socketmap(service, "hanging.example"))
        await service.dns.wait_for_question("hanging.example")
        assert b"OK" in await socketmap(service, "example.org")
        await service.dns.reply(none("hanging.example"))
        assert await hanging == b"9:NOTFOUND ,"

    play(tmp_path, test)


def test_time_over_is_said_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test(service: Service) -> None:
        for _ in range(2):
            assert b"TIMEOUT no answer within 0.05 s" in await socketmap(service, "hanging.example")
        assert b"400 no%20answer" in await tcp_table(service, "hanging.example")
        assert service.count("socketmap", "timeout") == 2

    with caplog.at_level(logging.WARNING, "onionmx.serve.answers"):
        play(tmp_path, test, timeout=0.05)
    assert [record.getMessage() for record in caplog.records] == ["hanging.example: no answer within 0.05 s"]


@pytest.mark.parametrize("ask", [socketmap, tcp_table, readsocket])
def test_an_expired_route_is_used_while_dns_fails(tmp_path: Path, ask: Asking) -> None:
    async def test(service: Service) -> None:
        service.live.restore([CacheEntry("live.example", found("live.example"), -10.0)])
        service.dns.answers["live.example"] = unknown("live.example")
        answer = await ask(service, "live.example")
        assert RESULT in answer or TARGETS[0].onion.encode() in answer
        assert service.live.stats().stale == 1

    play(tmp_path, test)


def test_more_questions_than_the_queue_holds(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        names = [f"d{number}.example" for number in range(3 * QUEUE)]
        asking = asyncio.create_task(
            service.ask(Protocol.SOCKETMAP, netstrings(*(f"t {name}".encode() for name in names)))
        )
        for name in names[:QUEUE]:
            await service.dns.wait_for_question(name)
        assert len(service.dns.asked) == QUEUE
        for name in names:
            await service.dns.reply(found(name) if name == names[-1] else none(name))
        assert await asking == b"9:NOTFOUND ," * (len(names) - 1) + b"29:OK " + RESULT + b","

    play(tmp_path, test)


def test_a_client_that_does_not_read_makes_nobody_wait_and_nothing_grow(tmp_path: Path) -> None:
    request = netstrings(b"t example.org") * 1000

    async def test(service: Service) -> None:
        reader, writer = await service.connect(Protocol.SOCKETMAP)
        sent = 0
        while not sent or writer.transport.get_write_buffer_size() == 0:
            writer.write(request)
            sent += 1000
            await asyncio.sleep(0)
        assert b"OK" in await socketmap(service, "example.org")
        answered = service.count("socketmap", "found")
        assert answered < sent
        writer.write_eof()
        assert await reader.read() == (b"29:OK " + RESULT + b",") * sent
        writer.close()

    play(tmp_path, test)


class RecordingTransport(asyncio.Transport):
    """What a connection does with its transport; the test says when the client reads."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reads = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return False


def test_single_requests_of_a_client_that_does_not_read_wait_and_keep_their_order(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        transport = RecordingTransport()
        connection = service.service.connection(Protocol.SOCKETMAP)
        connection.connection_made(transport)
        connection.data_received(netstrings(b"t example.org"))
        found_one = b"29:OK " + RESULT + b","
        assert transport.written == found_one
        connection.pause_writing()
        connection.data_received(netstrings(b"t *"))
        connection.data_received(netstrings(b"t example.org"))
        assert (transport.written, transport.reads) == (found_one, False)
        connection.resume_writing()
        assert (transport.written, transport.reads) == (found_one + b"9:NOTFOUND ," + found_one, True)
        connection.connection_lost(None)

    play(tmp_path, test)


@pytest.mark.parametrize(
    ("protocol", "data", "reply"),
    [
        (Protocol.SOCKETMAP, b"2147483648:x", b"PERM"),
        (Protocol.SOCKETMAP, b"-1:,", b"PERM"),
        (Protocol.SOCKETMAP, b"005:t abc,", b"PERM"),
        (Protocol.SOCKETMAP, b"0:,", b"PERM"),
        (Protocol.SOCKETMAP, b"5:t abcX" + b"y" * 100_000, b"PERM"),
        (Protocol.TCP_TABLE, b"get " + b"k" * 1_000_000, b"400"),
        (Protocol.TCP_TABLE, b"get %0\n", b"400"),
        (Protocol.READSOCKET, b"hosts " + b"k" * 1_000_000, b"defer"),
        (Protocol.READSOCKET, b"\xff\n", b"defer"),
    ],
)
def test_bad_input_is_answered_and_counted(tmp_path: Path, protocol: Protocol, data: bytes, reply: bytes) -> None:
    async def test(service: Service) -> None:
        reader, writer = await service.connect(protocol)
        writer.write(data)
        assert reply in await reader.read(1000)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert service.count(protocol.replace("-", "_"), "malformed") == 1

    play(tmp_path, test)


@pytest.mark.parametrize("key", [b"k" * 5000, b"\xff@", b"user@\0.org", b"%", b"user@" + b"a." * 2000])
def test_junk_is_not_found_at_once(tmp_path: Path, key: bytes) -> None:
    async def test(service: Service) -> None:
        escaped = b"".join(b"%%%02X" % byte for byte in key[:1000])
        assert await service.ask(Protocol.SOCKETMAP, netstrings(b"t " + key)) == b"9:NOTFOUND ,"
        assert (await service.ask(Protocol.TCP_TABLE, b"get " + escaped + b"\n")).startswith(b"500 ")
        assert (await service.ask(Protocol.READSOCKET, b"hosts " + key[:4000] + b"\n")).startswith(b"none ")
        assert service.dns.asked == []

    play(tmp_path, test)


def test_the_longest_idle_connection_makes_room(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        first, second = [await service.connect(Protocol.TCP_TABLE) for _ in range(2)]
        for reader, writer in (second, first, second):
            writer.write(b"get example.org\n")
            await reader.readline()
        assert b"OK" in await socketmap(service, "example.org")
        assert await first[0].read() == b""
        second[1].write(b"get example.org\n")
        assert (await second[0].readline()).startswith(b"200")
        assert service.count("tcp_table", "ended") == 1
        for _, writer in (first, second):
            writer.close()

    play(tmp_path, test, max_connections=2)


@root_only
def test_another_user_takes_no_connection_of_the_mta(tmp_path: Path) -> None:
    """He may open as many as he likes: his own make room, HTTP's and lookups' alike."""

    async def test(service: Service) -> None:
        for protocol, ask, start in (
            (Protocol.TCP_TABLE, b"get example.org\n", b"200 "),
            (Protocol.HTTP, b"GET /routes/example.org HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200"),
        ):
            reader, writer = await service.connect(protocol)
            async with stranger(service.ports[protocol], 300, is_answered=False):
                for _ in range(2):
                    writer.write(ask)
                    assert (await reader.read(4096)).startswith(start)
                assert (await service.ask(protocol, ask)).startswith(start)
            writer.close()

    play(tmp_path, test, max_connections=20)


def test_readsocket_ends_after_its_answer_and_when_nothing_comes(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        reader, writer = await service.connect(Protocol.READSOCKET)
        writer.write(b"route example.org\n")
        assert await reader.read() == f"found {A} {B}:2525\n".encode()
        writer.close()

    async def test_silent(service: Service) -> None:
        reader, writer = await service.connect(Protocol.READSOCKET)
        assert await reader.read() == b""
        writer.close()

    play(tmp_path, test)
    play(tmp_path, test_silent, timeout=0.2)


def test_a_mistake_of_ours_is_a_temporary_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test(service: Service) -> None:
        def broken(_domain: str) -> None:
            raise RuntimeError("secret")

        service.router.known = broken  # type: ignore[method-assign, assignment]
        for ask in (socketmap, tcp_table, readsocket):
            answer = await ask(service, "example.org")
            assert b"internal" in answer
            assert b"secret" not in answer
            assert answer.removeprefix(b"44:").startswith((b"TEMP", b"400", b"defer"))

    play(tmp_path, test)
    assert "secret" in caplog.text


def test_what_is_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        idle = await service.connect(Protocol.SOCKETMAP)
        asking = asyncio.create_task(socketmap(service, "slow.example"))
        await service.dns.wait_for_question("slow.example")
        closing = asyncio.create_task(service.service.close())
        assert await idle[0].read() == b""
        await service.dns.reply(found("slow.example"))
        assert b"OK" in await asking
        await closing
        idle[1].close()

    play(tmp_path, test)


def test_the_template_is_filled_from_the_first_target(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        assert f"OK {{x}} smtp:[{A}]:25 example.org,".encode() in await socketmap(service, "u@Example.ORG")

    play(tmp_path, test, result="{{x}} smtp:[{onion}]:{port} {domain}")


class DnsPort(asyncio.DatagramProtocol):
    """Plays Tor's DNSPort: an address for each onion, or what a test wants."""

    def __init__(self, rcode: int = 0) -> None:
        self._rcode = rcode
        self._transport: asyncio.DatagramTransport | None = None
        self.asked = 0
        self._closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._closed.set_result(None)

    async def close(self) -> None:
        """uvloop.run() waits for ever for a UDP socket that nobody has closed."""
        assert self._transport is not None
        self._transport.close()
        await self._closed

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.asked += 1
        if self._rcode < 0 or self._transport is None:
            return
        answers = 0 if self._rcode else 1
        head = data[:2] + bytes([0x81, 0x80 | self._rcode, 0, 1, 0, answers, 0, 0, 0, 0])
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([127, 192, 0, self.asked])
        self._transport.sendto(head + data[12:] + record * answers, address)


@pytest.mark.parametrize(
    ("rcode", "reply"),
    [(0, b"found 127.192.0.1:127.192.0.2::2525\n"), (2, b"defer no usable target: "), (-1, b"did not answer within")],
)
def test_hosts_are_virtual_addresses(tmp_path: Path, rcode: int, reply: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    if rcode < 0:
        monkeypatch.setattr("onionmx.tor.addresses.host_list.__defaults__", (0.3,))

    async def test(service: Service) -> None:
        transport, port = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: DnsPort(rcode), local_addr=("127.0.0.1", 0)
        )
        service.service.routes.dnsport = transport.get_extra_info("sockname")
        hosts = await service.ask(Protocol.READSOCKET, b"hosts user@example.org")
        own = await service.ask(Protocol.READSOCKET, b"hosts own.example")
        await port.close()
        assert reply in hosts
        assert own == b"none local domain: this host receives its mail itself\n"

    play(tmp_path, test)


def test_no_dnsport_is_a_temporary_failure(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def test(service: Service) -> None:
        answer = await service.ask(Protocol.READSOCKET, b"hosts example.org\n")
        assert answer.startswith(b"defer tor's DNSPort at 127.0.0.1")
        assert b"is tor running?" in answer

    play(tmp_path, test, TorSection(dnsport=f"127.0.0.1:{port}"))
