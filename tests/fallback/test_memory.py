"""What outlasts a restart: read as it was written, and anything else is refused as damaged."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import InputError
from onionmx.fallback.memory import parse_memory, read_memory, write_memory
from onionmx.fallback.observed import FORGOTTEN, Kept
from onionmx.saved import SavedError
from tests.mapfile.maps import A, B

KEPT = Kept({"a.example": ([(A, 25), (B, 2525)], 300.5)}, [(B, 25)])


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "fallback"
    assert read_memory(path, 0.0) is None
    write_memory(path, KEPT, 1000.0)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_memory(path, 1000.0 + FORGOTTEN) == KEPT


@pytest.mark.parametrize("now", [999.0, 1001.0 + FORGOTTEN])
def test_time_of_failure_that_is_old_or_from_the_future_is_left_out(tmp_path: Path, now: float) -> None:
    write_memory(tmp_path / "fallback", KEPT, 1000.0)
    assert read_memory(tmp_path / "fallback", now) == Kept({}, KEPT.answered)


@given(st.binary(max_size=200))
def test_whatever_comes_in_it_answers(content: bytes) -> None:
    with pytest.raises(InputError):
        parse_memory(content, 0.0)


@pytest.mark.parametrize(
    "failed",
    [
        '{"a.example": [[], 1]}',
        '{"a.example": [[["x.onion", 25]], 1]}',
        f'{{"a.example": [[["{A}", 0]], 1]}}',
        f'{{"a.example": [[["{A}", 25]], -1]}}',
        f'{{"A.example": [[["{A}", 25]], 1]}}',
        f'{{"not a domain": [[["{A}", 25]], 1]}}',
    ],
)
def test_impossible_content(tmp_path: Path, failed: str) -> None:
    path = tmp_path / "fallback"
    path.write_text(f'{{"format": 1, "written": 0, "kept": {{"failed": {failed}, "answered": []}}}}')
    with pytest.raises(SavedError):
        read_memory(path, 0.0)
