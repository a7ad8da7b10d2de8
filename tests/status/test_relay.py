"""Asking the relay at its control socket, whatever answers there."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from onionmx.config import RelaySection
from onionmx.status.model import DayCount, RelayStatus
from onionmx.status.relay import NoRelayError, RelayError, ask_relay, merged, parse_told
from tests.status.test_deliveries import NOW, failing

TOLD = RelayStatus(
    version="1",
    at=NOW,
    started=NOW - 60,
    in_flight=1,
    sessions=2,
    failing=(failing(),),
    days=(DayCount(day="2026-01-01", delivered=3),),
)
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


def answer(body: bytes) -> bytes:
    return _OK % (len(body), body)


def ask(path: Path, said: bytes | None, *, workers: int = 1, limit: float = 60.0) -> RelayStatus:
    """Ask a socket at which something is said to whatever is asked; with `None` nothing ever."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if said is None:
            await reader.read()  # until the client hangs up
        else:
            writer.write(said)
        writer.close()

    async def run() -> RelayStatus:
        server = await asyncio.start_unix_server(talk, path)
        async with server:
            return await ask_relay(RelaySection(control=str(path), workers=workers), limit)

    return asyncio.run(run())


def test_what_it_tells_is_read(tmp_path: Path) -> None:
    assert ask(tmp_path / "relay.sock", answer(msgspec.json.encode(TOLD))) == TOLD


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"220 mail.example ESMTP\r\n", "not onionmx relay"),
        (b"", "not onionmx relay|hung up"),
        (answer(b"[1]"), "not what a relay of this version says"),
        (answer(b"{}"), "not what a relay of this version says"),
        (answer(b"[" * 100_000), "not what a relay of this version says"),
        (answer(msgspec.json.encode(TOLD))[:-10], "not onionmx relay"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it answers 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n" + b"x" * (33 << 20), "larger than"),
    ],
    ids=["smtp", "nothing", "list", "empty", "deep", "half", "404", "large"],
)
def test_whoever_else_answers_is_told(tmp_path: Path, said: bytes, words: str) -> None:
    with pytest.raises(RelayError, match=words) as caught:
        ask(tmp_path / "relay.sock", said)
    assert not isinstance(caught.value, NoRelayError)
    assert "\n" not in str(caught.value)


def test_silence_ends(tmp_path: Path) -> None:
    with pytest.raises(RelayError, match=r"does not answer within 0\.2 s"):
        ask(tmp_path / "relay.sock", None, limit=0.2)


def test_nobody_there_is_another_error(tmp_path: Path) -> None:
    for settings in (RelaySection(control=str(tmp_path / "none")), RelaySection(control="")):
        with pytest.raises(NoRelayError):
            asyncio.run(ask_relay(settings))


def test_one_worker_that_is_silent_is_named_and_takes_nothing_from_the_other(tmp_path: Path) -> None:
    told = ask(tmp_path / "relay.sock", answer(msgspec.json.encode(TOLD)), workers=2)
    assert told.failing == TOLD.failing
    assert "relay.sock.1" in told.why


def test_the_worker_who_was_last_knows_all() -> None:
    later = replace(TOLD, at=NOW + 1, started=NOW, failing=(), in_flight=4)
    assert merged([later, TOLD]) == replace(later, started=NOW - 60, in_flight=5, sessions=4)
    assert merged([TOLD, replace(TOLD, why="disk full")]).why == "disk full"


@given(st.binary())
def test_whatever_is_told(content: bytes) -> None:
    with pytest.raises(RelayError):
        parse_told(content)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(RelayStatus.__struct_fields__), _JSON)
def test_whatever_a_field_holds(field: str, value: object) -> None:
    """It is read and can be told again, or refused."""
    line = msgspec.json.decode(msgspec.json.encode(TOLD)) | {field: value}
    try:
        told = parse_told(msgspec.json.encode(line))
    except RelayError:
        return
    assert parse_told(msgspec.json.encode(told)) == told
