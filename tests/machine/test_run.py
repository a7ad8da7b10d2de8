import os
from pathlib import Path

import pytest

from onionmx.errors import ConfigurationError, TemporaryError
from onionmx.machine import apt, places, run


def test_what_a_program_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("LD_PRELOAD_X", "x")
    said = run.run(("env",)).splitlines()
    assert "http_proxy=http://proxy.example:3128" in said
    assert "LC_ALL=C.UTF-8" in said
    assert not [line for line in said if line.startswith("LD_")]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo one; echo two; exit 3", "sh ended with 3: one; two"),
        ("echo I: begin; echo E: bad; echo I: end; exit 25", "sh ended with 25: E: bad"),
        ("printf '\\033[1mred\\n'; exit 1", r"sh ended with 1: \x1b[1mred"),
        ("exit 1", "sh ended with 1: it said nothing"),
    ],
)
def test_the_words_of_a_program_that_fails(script: str, words: str) -> None:
    with pytest.raises(TemporaryError) as failed:
        run.run(("sh", "-c", script))
    assert str(failed.value) == words


def test_a_program_that_hangs_or_is_not_there() -> None:
    with pytest.raises(TemporaryError, match=r"sleep was not done after 0.1 s"):
        run.run(("sleep", "60"), timeout=0.1)
    with pytest.raises(TemporaryError, match="no-such-program cannot be run: No such file"):
        run.run(("no-such-program",))


def test_programs_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_PACKAGES", {"sh": "dash"})
    run.check_programs()
    monkeypatch.setattr(run, "_PACKAGES", {"sh": "dash", "no-such-b": "systemd-container", "no-such-a": "mmdebstrap"})
    with pytest.raises(ConfigurationError, match="missing: apt-get install mmdebstrap systemd-container"):
        run.check_programs()


def test_the_folders_are_those_of_the_machines_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: dict[str, int] = {}
    monkeypatch.setattr(os, "chown", lambda path, user, _: owners.update({path.name: user}))
    for name in ("STATE", "RUNTIME", "MTA"):
        monkeypatch.setattr(places, name, tmp_path / name)
    places.prepare()
    assert owners == {"STATE": places.USER, "RUNTIME": places.USER, "MTA": 0}
    assert (tmp_path / "STATE").stat().st_mode & 0o777 == 0o700
    owners.clear()
    places.prepare()
    assert not owners, "what is there stays as it is"


def test_settings_of_the_hosts_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "run", lambda _: 'Acquire "";\nAcquire::http::Proxy "http://proxy.example";\n')
    assert apt.settings().splitlines() == [
        'Acquire::http::Proxy "http://proxy.example";',
        'Acquire::Retries "3";',
        'Apt::Install-Recommends "false";',
    ]
