"""How often the echo answers."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.echo.memory import LIMITS, PERIOD, Answered, decide, keys_of, take_turn
from onionmx.echo.request import Request
from onionmx.saved import SavedError
from tests.echo.messages import TOKEN


def asked(sender: str = "alice@sender.example", circuit: int | None = None) -> Request:
    return Request(TOKEN, sender, sender.rpartition("@")[2], "", (), circuit, ())


def test_each_sender_has_a_limit_that_ends(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "echo.json"
    for number in range(LIMITS["sender"]):
        assert not take_turn(file, asked(), 1000.0 + number)
    assert take_turn(file, asked(), 1100.0) == "sender"
    assert take_turn(file, asked("ALICE@sender.example"), 1100.0) == "sender"
    assert not take_turn(file, asked("bob@sender.example"), 1100.0)
    assert not take_turn(file, asked(), 1000.0 + PERIOD)
    assert take_turn(file, asked(), 1000.5 + PERIOD) == "sender"


def test_each_circuit_has_a_limit_whoever_the_sender_is(tmp_path: Path) -> None:
    file = tmp_path / "echo.json"
    for number in range(LIMITS["circuit"]):
        assert not take_turn(file, asked(f"a{number}@d{number}.example", circuit=7), 1000.0)
    assert take_turn(file, asked("x@y.example", circuit=7), 1000.0) == "circuit"
    assert not take_turn(file, asked("x@y.example", circuit=8), 1000.0)


def test_a_domain_and_all_together_have_limits() -> None:
    answered: list[Answered] = []
    for number in range(LIMITS["all"]):
        domain = f"d{number // LIMITS['domain']}.example"
        reached, answered = decide(answered, keys_of(asked(f"a{number}@{domain}")), 1000.0)
        assert not reached
        if (number + 1) % LIMITS["domain"] == 0:
            assert decide(answered, keys_of(asked(f"another@{domain}")), 1000.0)[0] in {"domain", "all"}
    assert decide(answered, keys_of(asked("new@new.example")), 1000.0)[0] == "all"


def test_a_full_file_can_be_read_again(tmp_path: Path) -> None:
    file = tmp_path / "echo.json"
    for number in range(LIMITS["all"]):
        assert not take_turn(file, asked(f"a@d{number}.example", circuit=number), 1764400000.123456)
    assert take_turn(file, asked(circuit=9999), 1764400000.0) == "all"


def test_nobody_else_reads_it_and_it_names_nobody(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "echo.json"
    take_turn(file, asked(circuit=7), 1000.0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert b"alice" not in file.read_bytes()
    assert b"sender.example" not in file.read_bytes()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 2}', b'{"format": 1}', b"\xff", b"[" * 100_000])
def test_a_damaged_file_stops_all_answers(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "echo.json"
    file.write_bytes(content)
    with pytest.raises(SavedError, match=r"delete it to begin anew|larger than"):
        take_turn(file, asked(), 1000.0)
    assert file.read_bytes() == content


def test_a_folder_that_cannot_be_used_stops_all_answers(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SavedError):
        take_turn(tmp_path / "file" / "echo.json", asked(), 1000.0)


@given(st.lists(st.tuples(st.floats(0, 3 * PERIOD), st.integers(0, 2), st.integers(0, 1)), max_size=60))
def test_no_hour_has_more_than_the_limit(messages: list[tuple[float, int, int]]) -> None:
    answered: list[Answered] = []
    given_at: dict[str, list[float]] = {}
    for time, who, circuit in sorted(messages):
        keys = keys_of(asked(f"{who}@d.example", circuit))
        reached, answered = decide(answered, keys, time)
        if not reached:
            for key in keys:
                times = given_at.setdefault(key, [])
                times.append(time)
                assert sum(time - before < PERIOD for before in times) <= LIMITS[key.partition(":")[0]]
