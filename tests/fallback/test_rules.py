"""The file of rules: everything that is right is read, everything that is wrong is named, and neither is mixed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import ConfigurationError
from onionmx.fallback.rules import Rules, parse_rules, read_rules
from tests.mapfile.maps import A, domains

UNITS = {"m": 60, "h": 3600, "d": 86400}
times = st.tuples(st.integers(1, 365), st.sampled_from("mhd"))


@given(st.binary(max_size=300))
def test_whatever_comes_in_it_answers(content: bytes) -> None:
    rules, problems = parse_rules("rules", content)
    assert isinstance(rules, Rules)
    assert all(str(problem).startswith("rules:") for problem in problems)


@given(st.dictionaries(domains, times | st.none(), max_size=20), times | st.none())
def test_what_is_written_is_read(entries: dict[str, tuple[int, str] | None], others: tuple[int, str] | None) -> None:
    def line(name: str, time: tuple[int, str] | None) -> str:
        return f"{name} never" if time is None else f"{name}\tafter {time[0]}{time[1]} # a comment"

    named = {name: time for name, time in entries.items() if not f".{name}".endswith(".onion")}
    text = "\n".join([*(line(name, time) for name, time in named.items()), line("*", others)])
    rules, problems = parse_rules("rules", text.encode())
    assert problems == ()

    def seconds(time: tuple[int, str] | None) -> float | None:
        return None if time is None else time[0] * UNITS[time[1]]

    assert {name: rules.after(name) for name in named} == {name: seconds(time) for name, time in named.items()}
    assert rules.after("not.among.them.example") == seconds(others)
    assert bool(rules) == any(time is not None for time in (*named.values(), others))


WRONG = {
    "example.org": "is not a rule",
    "example.org after": "is not a rule",
    "example.org 12h": "is not a rule",
    "example.org after 12 h": "is not a rule",
    "example.org never after 12h": "is not a rule",
    "example.org after 0h": "is not a time",
    "example.org after 12": "is not a time",
    "example.org after 12s": "is not a time",
    "example.org after -1h": "is not a time",
    "example.org after 366d": "at most 365d",
    "me@example.org after 1h": "is an e-mail address",
    "*.example.org after 1h": "contains '*'",
    f"{A} after 1h": "under .onion",
    f"x.{A.upper()}. never": "under .onion",
    "example.net never": "already on line 1",
}


def test_all_wrong_lines_are_named(tmp_path: Path) -> None:
    file = tmp_path / "fallback"
    file.write_text("\n".join(["example.net after 1h", *WRONG]))
    with pytest.raises(ConfigurationError) as caught:
        read_rules(file)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(WRONG)
    for number, (line, why) in enumerate(zip(lines, WRONG.values(), strict=True), 2):
        assert line.startswith(f"{file}:{number}: ")
        assert why in line


def test_no_file_means_never(tmp_path: Path) -> None:
    assert not read_rules(tmp_path / "none")


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"fallback\.rules"):
        read_rules(tmp_path)


def test_names_under_onion_are_never_released() -> None:
    rules, _ = parse_rules("rules", b"* after 1m")
    assert rules.after(A) is None
    assert rules.after(f"mail.{A}") is None


def test_exception_of_a_rule_for_all() -> None:
    rules, _ = parse_rules("rules", "* after 2d\nb\u00fccher.example never".encode())
    assert rules.after("xn--bcher-kva.example") is None
    assert rules.after("example.org") == 2 * 86400
