import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onionmx.cli import main
from tests.mapfile.maps import A
from tests.serve.daemon import Serve


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A daemon whose cache, from an earlier run, has two domains."""
    serve = Serve(tmp_path)
    serve.configure('[lookup]\nlive = true\n[dns]\nnameservers = ["127.0.0.1:1"]\n')
    serve.cache.parent.mkdir()
    target = {"onion": A, "port": 2525, "priority": 0, "weight": 0}
    entries = [
        {"domain": "none.example", "remaining": 1000.5, "reason": "no such name in DNS"},
        {"domain": "live.example", "remaining": 1000.5, "targets": [target], "trust": "dnssec"},
    ]
    serve.cache.write_text(json.dumps({"format": 1, "saved": time.time(), "entries": entries}))
    with serve.daemon as daemon:
        daemon.wait_for_log("lookups ready")
        yield serve


def run(serve: Serve, *arguments: str) -> int:
    return main(["cache", *arguments, "--config", str(serve.configuration)])


def test_dump(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(serve, "dump") == 0
    first, second = (line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines())
    assert (first[0], first[2]) == ("none.example", "none: no such name in DNS")
    assert (second[0], second[2]) == ("live.example", f"{A}:2525 (dnssec)")
    assert 900 < int(first[1]) <= 1001
    assert run(serve, "dump", "--json") == 0
    assert [entry["answer"] for entry in json.loads(capsys.readouterr().out)] == ["no route", "found"]


def test_purge(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(serve, "purge", "Live.Example", "live.example.", "other.example") == 1
    assert capsys.readouterr().out == "live.example forgotten\nother.example is not in the cache\n"
    assert run(serve, "purge", "none.example", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [{"domain": "none.example", "purged": True}]
    assert run(serve, "dump") == 0
    assert capsys.readouterr().out == ""
    assert run(serve, "purge", "no domain") == 64


def test_stats(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve.ask("u@live.example")
    assert run(serve, "stats") == 0
    assert dict(line.split() for line in capsys.readouterr().out.splitlines())["hits"] == "1"
    assert run(serve, "stats", "--json") == 0
    assert json.loads(capsys.readouterr().out)["size"] == 2


def test_no_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve = Serve(tmp_path)
    assert run(serve, "stats") == 75
    assert capsys.readouterr().err == f"onionmx: no daemon answers at {serve.control}: is onionmx serve running?\n"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(serve.control))
    assert run(serve, "stats") == 75
    assert "is onionmx serve running?" in capsys.readouterr().err


def test_something_else_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve = Serve(tmp_path)
    serve.configure(control=f'"{tmp_path}/http"', http_listen=f'["unix:{tmp_path}/http"]')
    daemon = Serve(tmp_path, None, http_listen=f'["unix:{tmp_path}/http"]')
    with daemon.daemon as running:
        running.wait_for_log("lookups ready")
        serve.configure(control=f'"{tmp_path}/http"')
        assert run(serve, "stats") == 75
    assert "answered 404: b'there is no such page" in capsys.readouterr().err
