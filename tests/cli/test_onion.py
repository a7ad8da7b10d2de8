"""`onionmx onion` where no tor is needed to refuse; with a real tor: tests/e2e/test_onion.py."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from onionmx.cli import main


@pytest.fixture
def configuration(tmp_path: Path) -> Iterator[str]:
    """Of a control port where nothing listens."""
    path = tmp_path / "onionmx.toml"
    with socket.socket() as closed:  # bound, so that nobody else takes it, and not listening
        closed.bind(("127.0.0.1", 0))
        path.write_text(f'[tor]\ncontrol = "127.0.0.1:{closed.getsockname()[1]}"\n')
        yield str(path)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--forward", "127.0.0.1:25"], "MTAs trust clients from 127.0.0.1"),
        (["--forward", "[::1]:25"], "MTAs trust clients from ::1"),
        (["--forward", "0.0.0.0:25"], "MTAs trust"),
        (["--forward", "localhost:25"], "expected IP:PORT"),
        (["--forward", "127.0.0.2"], "expected IP:PORT"),
        (["--port", "0"], "not in the range"),
        (["--max-streams", "70000"], "not in the range"),
    ],
)
def test_impossible_addresses(
    words: list[str], why: str, configuration: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["onion", "create", "--config", configuration, *words]) == 64
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["show"],
        ["show", "--json"],
        ["create"],
        ["create", "--forward", "127.0.0.1:25", "--trusted-address"],
        ["authorize", "partner.example"],
        ["revoke", "partner.example"],
    ],
)
def test_no_tor(words: list[str], configuration: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["onion", words[0], "--config", configuration, *words[1:]]) == 75
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "Connection refused" in captured.err
    assert "is tor running" in captured.err
    assert "Errno" not in captured.err


@pytest.mark.parametrize("words", [[], ["create"], ["show"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["onion", *words, "--help"]) == 0
    assert "Usage: onionmx onion" in capsys.readouterr().out
