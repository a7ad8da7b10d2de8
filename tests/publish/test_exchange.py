"""Servers that do what no name server should."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.tsig
import dns.update
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import UpdateError, UpdateRefusedError
from onionmx.publish.change import ChangeResult, Current, RecordChange, service_name
from onionmx.publish.exchange import ConnectionLostError, Exchange
from onionmx.publish.primary import Primary, Refusal
from onionmx.publish.records import OnionMxRecords
from onionmx.target import Target
from tests.onions import make_onion

KEY = dns.tsig.Key("key.example", b"secret", "hmac-sha256")
QUESTION = ("a.example.", "SRV")
CHANGE = RecordChange(
    OnionMxRecords("a.example", (Target(make_onion(1)),), 60), Current(service_name("a.example").parent())
)
Respond = Callable[[dns.message.Message], bytes | None]
"""Gives the packet to send back, or `None` to close the connection."""


@asynccontextmanager
async def server(*responses: Respond) -> AsyncIterator[tuple[str, int]]:
    """A name server on TCP; each message gets the next response, the last one for all that follow."""
    left = list(responses)
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            while True:
                wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                respond = left.pop(0) if len(left) > 1 else left[0]
                packet = respond(dns.message.from_wire(wire, keyring=False))
                if packet is None:
                    break
                writer.write(len(packet).to_bytes(2, "big") + packet)
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with running:
        host, port = running.sockets[0].getsockname()
        try:
            yield host, port
        finally:
            for task in filter(None, serving):
                await task


def answer(message: dns.message.Message) -> bytes:
    response = dns.message.make_response(message)
    response.tsig = None
    response.flags |= dns.flags.AA
    return response.to_wire()


def close(_message: dns.message.Message) -> None:
    return None


def ask(*responses: Respond, key: dns.tsig.Key | None = None, timeout: float = 5.0) -> dns.message.Message:
    async def run() -> dns.message.Message:
        async with server(*responses) as address, Exchange(address, key, timeout) as exchange:
            return await exchange.ask(dns.message.make_query(*QUESTION))

    return asyncio.run(run())


def update(*responses: Respond) -> ChangeResult | Refusal:
    async def run() -> ChangeResult | Refusal:
        async with server(*responses) as address, Exchange(address, KEY) as exchange:
            return (await Primary(exchange, KEY).update([CHANGE]))["a.example"]

    return asyncio.run(run())


def test_a_question_is_asked_again_when_the_server_hangs_up() -> None:
    assert ask(close, answer).rcode() == dns.rcode.NOERROR
    with pytest.raises(ConnectionLostError, match=r"127\.0\.0\.1 port \d+: closed the connection"):
        ask(close, close)


def test_an_update_is_never_sent_twice() -> None:
    outcome = update(close, answer)
    assert isinstance(outcome, Refusal)
    assert outcome.outcome is ChangeResult.UNKNOWN
    assert "closed the connection; whether the update was made is not known" in outcome.words


def test_success_without_a_signature_is_not_believed() -> None:
    outcome = update(answer)
    assert isinstance(outcome, Refusal)
    assert (outcome.outcome, "is not signed" in outcome.words) == (ChangeResult.UNKNOWN, True)


def test_an_unsigned_answer_to_a_signed_question_is_not_believed() -> None:
    with pytest.raises(UpdateError, match=r"its answer is not signed, though the question was"):
        ask(answer, key=KEY)
    assert not ask(answer).had_tsig


def not_authoritative(message: dns.message.Message) -> bytes:
    response = dns.message.make_response(message)
    response.tsig = None
    response.set_rcode(dns.rcode.NOTAUTH)
    return response.to_wire()


def test_an_unsigned_notauth_is_about_the_key_of_a_question_and_the_zone_of_an_update() -> None:
    with pytest.raises(UpdateRefusedError, match=r"NOTAUTH, it does not know key 'key\.example' with hmac-sha256"):
        ask(not_authoritative, key=KEY)
    assert ask(not_authoritative).rcode() == dns.rcode.NOTAUTH
    outcome = update(not_authoritative)
    assert isinstance(outcome, Refusal)
    assert (outcome.outcome, "not the primary of zone" in outcome.words) == (ChangeResult.REFUSED, True)


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (b"", "its answer cannot be used, ShortHeader"),
        (b"\xff" * 20, "its answer cannot be used"),
        (b"\x84\0\0\0\0\0\0\0\0\0", "its answer is not one to what was asked"),
    ],
)
def test_answers_that_are_none(packet: bytes, why: str) -> None:
    with pytest.raises(UpdateError, match=why):
        ask(lambda message: message.id.to_bytes(2, "big") + packet, timeout=60.0)


@pytest.mark.parametrize("packet", [b"", b"\0\1\x84\0\0\0\0\0\0\0\0\0"], ids=["nothing", "another"])
def test_what_has_another_id_is_no_answer(packet: bytes) -> None:
    async def run() -> None:
        async with server(answer, lambda _message: packet) as address, Exchange(address, None, 60.0) as exchange:
            await exchange.ask(dns.message.make_query(*QUESTION))
            exchange._timeout = 0.5  # noqa: SLF001 -- once it is connected
            with pytest.raises(UpdateError, match="no answer within"):
                await exchange.ask(dns.message.make_query(*QUESTION, id=2))

    asyncio.run(run())


@given(st.binary(min_size=2, max_size=200))
def test_any_packet_is_an_answer_or_an_error(packet: bytes) -> None:
    try:
        assert ask(lambda message: message.id.to_bytes(2, "big") + packet, key=KEY, timeout=60.0)
    except (UpdateError, UpdateRefusedError) as error:
        assert str(error).isprintable()
