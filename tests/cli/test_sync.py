"""`onionmx sync` in the long run: what waits, what is held, what is asked."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.flags
import pytest
from msgspec.structs import replace

from onionmx.cli import main
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.sqlite import SqliteStore
from tests.cli import test_commands
from tests.cli.test_commands import FAILING, SRV, Site, srv
from tests.dns.scripted import reply
from tests.e2e.valkey import ValkeyServer
from tests.mapfile.maps import A, B, C

site = test_commands.site
SIGNED_DENIAL = reply(rcode="NXDOMAIN", flags=dns.flags.RA | dns.flags.AD)


def state(site: Site) -> Path:
    return site.map.with_name("state.sqlite")


def edit(site: Site, domain: str, change: Callable[[DomainRecord], DomainRecord]) -> None:
    store = SqliteStore(state(site))
    store.save([change(store.get([domain])[domain])])
    store.close()


def long_since(record: DomainRecord) -> DomainRecord:
    assert record.pending
    return replace(record, pending=replace(record.pending, steady=9e9))


def printed(capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401 -- JSON
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def waiting(site: Site, capsys: pytest.CaptureFixture[str]) -> Site:
    """Two routes are established; one has an unsigned change, of the other there is nothing left."""
    site.domains.write_text("changing.example\nending.example\nsteady.example\n")
    site.reactions.update(srv("changing.example", A) | srv("ending.example", A) | srv("steady.example", A))
    assert site.run("sync") == 0
    site.reactions.update(srv("changing.example", B))
    del site.reactions[f"{SRV}ending.example"]
    capsys.readouterr()
    assert site.run("sync", "--all") == 0
    output = capsys.readouterr().out.splitlines()
    assert output == [
        "waiting   changing.example: unsigned answer of another record, seen steadily for 0 of 3 days; keeps " + A,
        "waiting   ending.example: unsigned answer of no record, seen steadily for 0 of 2 days; keeps " + A,
        (
            "0 added, 0 changed, 0 removed, 3 kept, 0 undecided, 0 without an onion MX, "
            f"2 waiting (onionmx sync --pending); {site.map}"
        ),
    ]
    return site


def test_changes_that_wait_are_listed(waiting: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert waiting.run("sync", "--pending") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"changing.example: {A} -> {B}; since 20")
    assert lines[1].startswith(f"ending.example: {A} -> nothing; since 20")
    assert lines[2] == "2 waiting, 0 refused"
    assert waiting.run("sync", "--pending", "--json") == 0
    first, _ = printed(capsys)
    assert first["domain"] == "changing.example"
    assert (first["established"]["endpoints"], first["pending"]["endpoints"]) == ([[A, 25]], [[B, 25]])


def test_they_are_told_once(waiting: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert waiting.run("sync", "--all", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_they_are_accepted_by_name_and_published_at_once(waiting: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert waiting.run("sync", "--accept-change", "Changing.example.", "--accept-change", "ending.example") == 0
    output = capsys.readouterr().out
    assert f"changed   changing.example: {A} -> {B} (srv, pinned)" in output
    assert "removed   ending.example: no such name in DNS" in output
    assert waiting.entries == {"changing.example": ((B, 25),), "steady.example": ((A, 25),)}
    assert waiting.run("sync", "--all") == 0
    assert waiting.entries == {"changing.example": ((B, 25),), "steady.example": ((A, 25),)}


def test_they_are_refused_by_name(waiting: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert waiting.run("sync", "--refuse-change", "changing.example") == 0
    capsys.readouterr()
    assert waiting.run("sync", "--pending") == 0
    assert "1 waiting, 1 refused" in capsys.readouterr().out
    edit(
        waiting,
        "changing.example",
        long_since,
    )
    assert waiting.run("sync", "--all") == 0
    assert waiting.entries["changing.example"] == ((A, 25),)
    # It is remembered when it is not seen for a while, and taken back by name.
    answers = dict(waiting.reactions)
    waiting.reactions.update(srv("changing.example", A))
    for _ in range(3):
        assert waiting.run("sync", "--all") == 0
    waiting.reactions.update(answers)
    edit(waiting, "changing.example", long_since)
    assert waiting.run("sync", "--all") == 0
    assert waiting.entries["changing.example"] == ((A, 25),)
    assert waiting.run("sync", "--allow-change", "changing.example") == 0
    assert waiting.run("sync", "--allow-change", "changing.example") == 64
    edit(waiting, "changing.example", long_since)
    assert waiting.run("sync", "--all") == 0
    assert waiting.entries["changing.example"] == ((B, 25),)


def test_time_makes_them(waiting: Site) -> None:
    for domain in ("changing.example", "ending.example"):
        edit(
            waiting,
            domain,
            long_since,
        )
    assert waiting.run("sync", "--all") == 0
    assert waiting.entries == {"changing.example": ((B, 25),), "steady.example": ((A, 25),)}


def test_names_for_which_nothing_waits_change_nothing(waiting: Site, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(waiting).read_bytes()
    for words in (
        ("--accept-change", "changing.example", "--accept-change", "steady.example"),
        ("--refuse-change", "unknown.example"),
        ("--accept-change", "changing.example", "--refuse-change", "changing.example"),
        ("--accept-change", "a b"),
        ("--pending", "--status"),
        ("--seal-store", "--status"),
        ("--pending", str(waiting.domains)),
        ("--all", "--accept-change", "changing.example"),
    ):
        assert waiting.run("sync", *words) == 64, words
        assert capsys.readouterr().err
        assert state(waiting).read_bytes() == before


def test_status(waiting: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert waiting.run("sync", "--status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("last run   20")
    assert lines[1:] == [
        f"map        {waiting.map}: 3 entries",
        "domains    3 listed: 2 with an onion MX, 1 without, 0 could not be told, 0 not asked yet",
        "waiting    2 changes",
    ]
    assert waiting.run("sync", "--status", "--json") == 0
    status = printed(capsys)
    assert status["domains"] == {"listed": 3, "found": 2, "none": 1, "unknown": 0, "pending": 2}
    assert status["held"] is None


def test_status_before_the_first_run_makes_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run("sync", "--status") == 0
    assert capsys.readouterr().out.splitlines()[0] == "last run   never"
    assert not state(site).exists()
    assert site.run("sync", "--pending") == 0
    assert capsys.readouterr().out == "0 waiting, 0 refused\n"


def test_a_map_that_would_lose_much_is_held(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{number}.example" for number in range(12)]
    site.domains.write_text("\n".join(names))
    for name in names:
        site.reactions.update(srv(name, A))
    assert site.run("sync") == 0
    for name in names[:10]:
        site.reactions[SRV + name] = SIGNED_DENIAL
    site.reactions.update(srv(names[10], B, flags=dns.flags.AD))
    before = site.entries
    capsys.readouterr()
    assert site.run("sync", "--all", "--quiet") == 0
    output = capsys.readouterr().out
    assert "waiting   0.example: nothing speaks for it any more, but too much would go at once" in output
    assert "held      10 of 12 entries would go (0.example, 1.example, 2.example" in output
    assert site.entries == before | {names[10]: ((B, 25),)}
    assert site.run("sync", "--quiet") == 0
    assert not capsys.readouterr().out, "it is said once"
    assert site.run("sync") == 0
    assert "held      10 of 12 entries would go" in capsys.readouterr().out
    assert site.run("sync", "--status") == 0
    assert "held       10 of 12 entries would go" in capsys.readouterr().out
    assert site.run("sync", "--dry-run") == 0
    assert "held      10 of 12 entries would go" in capsys.readouterr().out
    assert site.run("sync", "--pending") == 0
    output = capsys.readouterr().out
    assert "0.example: its removal waits, as too many would go at once (sync.max_removal)\n" in output
    assert output.endswith("10 waiting, 0 refused\n")
    assert site.run("sync", "--accept-change", names[0]) == 0
    assert set(site.entries) == set(names[1:])
    assert site.run("sync", "--accept-change", names[0]) == 64, "it is not there any more"
    assert site.run("sync", "--accept") == 0
    assert set(site.entries) == set(names[10:])
    capsys.readouterr()
    assert site.run("sync", "--status") == 0
    assert "held" not in capsys.readouterr().out


def test_what_is_not_due_is_not_asked(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.reactions.update(srv("example.org", A))
    site.domains.write_text("example.org\nexample.com\n")
    assert site.run("sync", "--json") == 0
    report = printed(capsys)
    assert (report["listed"], report["asked"], report["entries"], report["published"]) == (2, 2, 1, True)
    site.reactions[f"{SRV}example.org"] = site.reactions[f"{SRV}example.com"] = FAILING
    assert site.run("sync", "--json") == 0
    report = printed(capsys)
    assert (report["asked"], report["entries"], report["published"], report["domains"]) == (0, 1, False, [])
    assert site.run("sync", "--all") == 75
    assert "every lookup failed (2)" in capsys.readouterr().err


def test_trust_by_domain(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    trust = site.map.with_name("trust")
    trust.write_text("strict.example dnssec\nloose.example any\n")
    site.configuration.write_text(site.configuration.read_text() + f'trust_of = "{trust}"\n')
    site.domains.write_text("strict.example\nloose.example\nusual.example\n")
    for onion in (A, B):
        for name in ("strict", "loose", "usual"):
            site.reactions.update(srv(f"{name}.example", onion))
        assert site.run("sync", "--all") == 0
    assert site.entries == {"loose.example": ((B, 25),), "usual.example": ((A, 25),)}
    trust.write_text("strict.example sometimes\n")
    capsys.readouterr()
    assert site.run("sync") == 78
    assert f"{trust}:1: 'strict.example sometimes': expected" in capsys.readouterr().err


def test_damaged_state_says_what_to_do_and_the_map_stays(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.reactions.update(srv("example.org", A))
    site.domains.write_text("example.org\n")
    assert site.run("sync") == 0
    before = site.map.read_bytes()
    state(site).write_bytes(b"x" * 40960)
    capsys.readouterr()
    for words in (("sync",), ("sync", "--pending"), ("sync", "--status"), ("explain", "example.org")):
        assert site.run(*words) == 75, words
        error = capsys.readouterr().err
        assert f"mv {state(site)} {state(site)}.damaged" in error
        assert error.count("\n") == 1
    assert site.map.read_bytes() == before
    state(site).unlink()
    site.reactions.update(srv("example.org", C))
    assert site.run("sync") == 0
    assert site.entries == {"example.org": ((A, 25),)}


def test_nothing_to_do_makes_no_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pins = tmp_path / "pins"
    pins.write_text("")
    assert main(["sync", "--pins", str(pins), "--map", str(tmp_path / "map.cdb")]) == 78
    assert "nothing to do" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pins"]


def test_store_in_use_gets_a_key(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As docs/sync.md says."""
    site.domains.write_text("example.org\n")
    key = tmp_path / "store.key"
    key.touch(0o600)
    key.write_text("k" * 64)
    with ValkeyServer() as server:
        store = f"valkey://127.0.0.1:{server.address.port}"
        before = site.configuration.read_text()
        shared = f'[sync]\nstore = "{store}"\nstore_password_file = "{server.password_file}"\n'
        site.configuration.write_text(before.replace("[sync]\n", shared))
        assert site.run("sync") == 0
        assert site.run("sync", "--seal-store") == 78
        keyed = f'{shared}store_key_file = "{key}"\n'
        site.configuration.write_text(before.replace("[sync]\n", keyed))
        assert site.run("sync") == 75
        assert "not written by a host that has the key" in capsys.readouterr().err
        assert site.run("sync", "--seal-store") == 0
        assert re.fullmatch(rf"[1-9]\d* entries of {store} got a MAC\n", capsys.readouterr().out)
        assert site.run("sync", "--seal-store", "--json") == 0
        assert printed(capsys) == {"sealed": 0}
        assert site.run("sync") == 0


def test_under_systemd_it_logs_events(site: Site, tmp_path: Path) -> None:
    site.domains.write_text("example.org\nbroken.example\n")
    site.reactions.update(srv("example.org", A) | {f"{SRV}broken.example": FAILING})
    site.set("log", 'format = "json"')
    said = []
    for name in ("journal", "no-journal"):
        with (tmp_path / name).open("w") as output:
            found = os.fstat(output.fileno())
            stream = f"{found.st_dev}:{found.st_ino}" if name == "journal" else "1:1"
            command = [sys.executable, "-m", "onionmx", "sync", "--all", "--config", str(site.configuration)]
            environment = os.environ | {"JOURNAL_STREAM": stream}
            done = subprocess.run(
                command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment, check=False
            )
        assert done.returncode == 0, done.stderr
        said.append(((tmp_path / name).read_text(), done.stderr))
    assert said[0][0] == ""
    events = {each["event"]: each for each in map(json.loads, said[0][1].splitlines())}
    assert set(events) == {"added", "undecided", "synchronized"}
    assert (events["added"]["domain"], events["added"]["new"]) == ("example.org", A)
    assert events["undecided"]["level"] == "warning"
    assert (events["synchronized"]["added"], events["synchronized"]["entries"]) == (1, 1)
    assert "1 kept, 1 undecided" in said[1][0]
    assert said[1][1] == ""


def test_under_systemd_what_ends_it_is_logged_too(site: Site, tmp_path: Path) -> None:
    site.set("log", 'format = "json"')
    site.pins.write_text("nonsense\n")
    with (tmp_path / "journal").open("w") as output:
        found = os.fstat(output.fileno())
        command = [sys.executable, "-m", "onionmx", "sync", "--config", str(site.configuration)]
        environment = os.environ | {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert done.returncode == 78
    (event,) = map(json.loads, done.stderr.splitlines())
    assert (event["level"], "pins" in event["message"]) == ("error", True)
