"""The file of what onion MXes announced."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import InputError
from onionmx.relay.sessions.announced import (
    LASTING,
    Announced,
    parse_announced,
    read_announced,
    write_announced,
)
from onionmx.relay.sessions.habits import Habits
from onionmx.saved import SavedError
from onionmx.smtp.client.states import Early, TlsPolicy
from onionmx.smtp.extensions import Extensions
from tests.mapfile.maps import A, B

NOW = 1_000_000.0
EXIM = Extensions("mx.example", pipelining=True, chunking=True, size=52428800, pipe_connect=True)


def announced(onion: str, until: float = NOW + 100, extensions: Extensions = EXIM) -> Announced:
    return Announced(onion, 25, extensions, until)


def test_several_processes_share_it(tmp_path: Path) -> None:
    file = tmp_path / "new" / "announced"
    assert read_announced(file, NOW) == {}
    write_announced(file, {(A, 25): announced(A)}, NOW)
    write_announced(file, {(B, 25): announced(B)}, NOW)
    assert read_announced(file, NOW) == {(A, 25): announced(A), (B, 25): announced(B)}
    write_announced(file, {(A, 25): None}, NOW)
    assert read_announced(file, NOW) == {(B, 25): announced(B)}
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_has_expired_or_never_would_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "announced"
    write_announced(file, {(A, 25): announced(A, NOW + LASTING + 1), (B, 25): announced(B, NOW)}, NOW)
    assert read_announced(file, NOW) == {}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged"),
        (b'{"format":2,"announced":{}}', "its format is 2"),
        (b'{"format":1,"announced":[{"onion":"x.onion","port":25,"extensions":{},"until":1}]}', "damaged"),
        (b"[" * 100_000, "damaged"),
        (b" " * ((8 << 20) + 1), "larger than"),
    ],
)
def test_damaged_file_is_a_warning_and_written_anew(
    tmp_path: Path, content: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "announced"
    file.write_bytes(content)
    with pytest.raises(SavedError, match=why):
        read_announced(file, NOW)
    Habits(TlsPolicy.NEVER).keep_in(file)
    assert why in caplog.text
    write_announced(file, {(A, 25): announced(A)}, NOW)
    assert (A, 25) in read_announced(file, NOW)


def test_what_could_not_be_written_is_written_the_next_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "announced"
    write_announced(file, {(A, 25): announced(A), (B, 25): announced(B)}, NOW)
    habits = Habits(TlsPolicy.NEVER, now=lambda: NOW)
    habits.keep_in(file)
    other = Habits(TlsPolicy.NEVER, now=lambda: NOW)
    other.keep_in(file)
    habits.forget((A, 25))
    file.with_name("announced.lock").unlink()
    file.with_name("announced.lock").mkdir()
    asyncio.run(habits.save())
    assert "cannot be written" in caplog.text
    file.with_name("announced.lock").rmdir()
    asyncio.run(habits.save())
    assert set(read_announced(file, NOW)) == {(B, 25)}
    other.forget((B, 25))
    asyncio.run(other.save())
    assert read_announced(file, NOW) == {}, "what this one has not changed stays as others left it"


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda inner: b'{"format":1,"announced":[' + inner + b"]}"))
def test_anything_is_read_or_refused(content: bytes) -> None:
    with suppress(InputError):
        assert isinstance(parse_announced(content, NOW), dict)


@given(
    st.builds(
        Announced,
        st.sampled_from([A, B]),
        st.integers(1, 65535),
        st.builds(Extensions, hello=st.text(max_size=20), size=st.none() | st.integers(0, 10**18)),
        st.floats(NOW + 1, NOW + LASTING),
        st.booleans(),
    )
)
def test_what_is_written_is_read(entry: Announced) -> None:
    content = b'{"format":1,"announced":[' + msgspec.json.encode(entry) + b"]}"
    assert parse_announced(content, NOW) == {(entry.onion, entry.port): entry}


def test_early_follows_from_what_was_announced() -> None:
    clock = [NOW]
    habits, onion_mx = Habits(TlsPolicy.NEVER, now=lambda: clock[0]), (A, 25)
    habits.opened(onion_mx, EXIM)
    assert habits.early(onion_mx) is Early.AT_ONCE
    habits.refused_early(onion_mx)
    habits.opened(onion_mx, EXIM)
    assert habits.early(onion_mx) is Early.NOTHING
    postfix = Extensions(pipelining=True, chunking=True)
    habits.opened(onion_mx, postfix)
    assert habits.early(onion_mx) is Early.AFTER_GREETING
    habits.refused_early(onion_mx)
    for _ in range(7):
        habits.opened(onion_mx, postfix)
        assert habits.early(onion_mx) is Early.NOTHING, "the same as before"
        clock[0] += LASTING / 7
    habits.opened(onion_mx, postfix)
    assert habits.early(onion_mx) is Early.AFTER_GREETING, "another try each week"
    habits.opened(onion_mx, Extensions(pipelining=True, chunking=True, smtputf8=True))
    assert habits.early(onion_mx) is Early.AFTER_GREETING, "another one answers there"
    habits.broken(onion_mx)
    assert habits.early(onion_mx) is Early.NOTHING


@pytest.mark.parametrize("tls", [TlsPolicy.OPPORTUNISTIC, TlsPolicy.REQUIRE])
def test_nothing_early_where_tls_is_wanted(tls: TlsPolicy) -> None:
    habits = Habits(tls, now=time.time)
    habits.opened((A, 25), EXIM)
    assert habits.early((A, 25)) is Early.NOTHING


@pytest.mark.parametrize(
    ("offered", "is_covered"),
    [
        (EXIM, True),
        (Extensions(pipelining=True, chunking=True, size=0), True),
        (Extensions(pipelining=True, chunking=True, size=1000), False),
        (Extensions(pipelining=True, chunking=True), False),
        (Extensions(pipelining=True, size=0), False),
        (Extensions(pipelining=True, chunking=True, size=0, rcpt_max=1), False),
    ],
)
def test_what_covers_what_was_remembered(offered: Extensions, *, is_covered: bool) -> None:
    assert offered.cover(EXIM) is is_covered
