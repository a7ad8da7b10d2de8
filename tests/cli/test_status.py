"""`onionmx status`: the screen, the JSON, the exit codes."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from onionmx.cli import main
from onionmx.cli.status_report import WIDTH, lines_of
from onionmx.status.model import (
    CouldHaveGone,
    DeliveriesStatus,
    DeliveryCount,
    FailingStatus,
    FallbackStatus,
    MapStatus,
    OnionsStatus,
    OnionStatus,
    QueueStatus,
    Status,
    TorStatus,
    WaitingChange,
)
from onionmx.status.released import NONE
from tests.mapfile.maps import A, B
from tests.status.test_deliveries import NOW, failing

WELL = Status(
    version="1",
    host="mail.example.org",
    at=NOW,
    tor=TorStatus(answers=True, version="0.4.8.16", bootstrapped=100, has_circuits=True, circuits=14),
    onions=OnionsStatus(services=(OnionStatus(onion=A, published=True, reachable=True, reachable_since=NOW - 1),)),
    map=MapStatus(path="/var/lib/onionmx/onionmx.cdb", entries=1, written=NOW - 7200, age=7200.0, waiting=()),
    fallback=FallbackStatus(released=(), why="there are no fallback rules"),
    failing=FailingStatus(destinations=()),
    queue=QueueStatus(mta="Postfix", waiting=12, in_flight=1),
    deliveries=DeliveriesStatus(
        today=DeliveryCount(delivered=5),
        sent_today=20,
        last_30_days=DeliveryCount(delivered=50, deferred=2, refused=1),
        could_have_gone=CouldHaveGone(recipients=2000, with_route=84, share=0.042),
    ),
)


def screen(status: Status) -> str:
    return "\n".join(line.plain for line in lines_of(status))


def test_screen_of_a_host_that_is_well() -> None:
    text = screen(WELL)
    assert "tor          0.4.8.16, 100 % bootstrapped, 14 circuits\n" in text
    assert f"own onion    {A}\n             published\n             reached from outside since " in text
    assert "1 entry, written 2 h ago" in text
    assert "failing      no destination\n" in text
    assert "mail waiting 12 messages in the queue of Postfix" in text
    words = "today 5 recipients over onions, of 20 in the mail logs (25.0%); 0 deferred, 0 refused"
    assert words in " ".join(text.split())
    assert "30 days 50 recipients over onions; 2 deferred, 1 refused" in text
    assert "84 of 2000 recipients in the mail logs" in text
    assert all(len(line) <= WIDTH for line in text.splitlines())
    assert len(text.splitlines()) < 24


def test_what_is_released_is_named() -> None:
    assert "fallback" not in screen(WELL)
    domains = tuple(f"{letter}.example" for letter in "abcdefg")
    released = screen(replace(WELL, fallback=FallbackStatus(released=domains, confirmed=NOW)))
    assert "fallback     released, their mail goes over the open internet:\n" in released
    assert "a.example, b.example" in released
    assert "and 2 more: onionmx status --json" in " ".join(released.split())
    assert "fallback     nothing is released\n" in screen(replace(WELL, fallback=FallbackStatus(released=(), why=NONE)))
    stale = replace(WELL, fallback=FallbackStatus(released=(), why="it is old"))
    assert "fallback     nothing is released: it is old\n" in screen(stale)


def test_what_fails_has_reason_and_times_and_each_change_its_command() -> None:
    command = f"onionmx sync --accept-change example.org={B}"
    change = WaitingChange(domain="example.org", what=f"{A} -> {B}: unsigned", since=NOW, command=command)
    dead = failing(next_try=NOW + 300)
    text = screen(
        replace(WELL, map=replace(WELL.map, waiting=(change,)), failing=FailingStatus(destinations=(dead,) * 7))
    )
    assert f"{A[:16]}...:25 for example.org" in text
    words = "no descriptor found; for 60 min, failures: 3, the last 60 s ago; next try in 5 min"
    assert words in " ".join(text.split())
    assert "and 2 destinations more: onionmx status --json" in text
    assert f"\n               {command}\n" in text, "whole, to be copied"


@pytest.mark.parametrize("words", ["not known", "does not answer"])
def test_not_known_is_not_no(words: str) -> None:
    answers = None if words == "not known" else False
    unknown = replace(
        WELL,
        tor=TorStatus(answers=answers, why="asleep"),
        onions=OnionsStatus(services=None, why="a reason of its own"),
        map=MapStatus(path="map", why="unreadable"),
        failing=FailingStatus(destinations=None, why="no relay"),
        fallback=FallbackStatus(released=None, why="internal error"),
        queue=QueueStatus(why="no MTA"),
        deliveries=DeliveriesStatus(why="no relay", could_have_gone_why="no logs"),
    )
    text = screen(unknown)
    assert f"tor          {words}: asleep" in text
    for other in (
        "own onion    not known: a reason",
        "failing      not known: no relay",
        "fallback     not known: internal",
        "not known: no MTA",
    ):
        assert other in text
    assert "which changes wait is not known" in text
    told = json.loads(msgspec.json.encode(unknown))
    assert told["tor"]["answers"] is answers
    assert told["failing"]["destinations"] is told["map"]["waiting"] is told["queue"]["waiting"] is None


@given(st.text(), st.text())
def test_nothing_of_others_moves_the_cursor(why: str, what: str) -> None:
    change = WaitingChange(domain=what, what=why, command=what)
    status = replace(
        WELL,
        host=what,
        tor=replace(WELL.tor, version=what, why=why),
        onions=OnionsStatus(services=(OnionStatus(onion=what, published_why=why, reachable_why=what),)),
        map=replace(WELL.map, path=what, why=why, waiting=(change,)),
        failing=FailingStatus(destinations=(failing(reason=why, domains=(what,), onion=what),), why=why),
        queue=QueueStatus(mta=what, why=why),
        deliveries=replace(WELL.deliveries, why=why, could_have_gone=None, could_have_gone_why=what),
    )
    assert all(line.plain.isprintable() for line in lines_of(status))


def write(folder: Path, **more: Any) -> Path:  # noqa: ANN401 -- keys of [tor]
    """A configuration of a host with nothing on it."""
    file = folder / "onionmx.toml"
    tor = {"control": f"unix:{folder}/control", "socks": f"unix:{folder}/socks"} | more
    file.write_text(
        f'[map]\npath = "{folder}/map.cdb"\n[sync]\npins = "{folder}/pins"\n'
        f'[relay]\ncontrol = "{folder}/relay.sock"\n[tor]\n'
        + "".join(f'{key} = "{value}"\n' for key, value in tor.items())
    )
    return file


def test_host_without_tor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", "--config", str(write(tmp_path))]) == 75
    told = msgspec.json.decode(capsys.readouterr().out, type=Status)
    assert told.tor.answers is False
    assert told.onions.services is None
    assert told.map.waiting == ()
    assert main(["status", "--config", str(write(tmp_path))]) == 75
    text = capsys.readouterr().out
    assert "\x1b" not in text, "colours are for terminals"
    assert all(len(line) <= WIDTH for line in text.splitlines())


@pytest.mark.parametrize(
    ("words", "code"), [(["--interval", "5"], 64), (["--watch", "--interval", "0"], 64), (["more"], 64)]
)
def test_wrong_usage(tmp_path: Path, words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", str(write(tmp_path)), *words]) == code
    assert capsys.readouterr().out == ""


def test_wrong_configuration(tmp_path: Path) -> None:
    assert main(["status", "--config", str(write(tmp_path, control="nonsense"))]) == 78


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_ends_at_a_signal_with_the_code_of_the_last_look(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "onionmx", "status", "--watch", "--json", "--config", str(write(tmp_path))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        json.loads(watching.stdout.readline())
        watching.send_signal(number)
        _, errors = watching.communicate(timeout=120)
    assert (watching.returncode, errors) == (75, "")
