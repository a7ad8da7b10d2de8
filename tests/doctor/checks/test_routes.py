"""The map and the pins: real files, with one fault each."""

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cdblib import Writer

from onionmx.config import Configuration, Export, LocalSection, LookupSection, MapSection, SyncSection
from onionmx.doctor.checks.routes import CHECKS, judge_store
from onionmx.doctor.finding import Finding, Severity
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import run_checks
from onionmx.mapfile.cdb import DEFERS
from onionmx.mapfile.export import stale_exports, write_exports
from onionmx.sync.after import mark_due, run_after
from tests.mapfile.maps import A, B, make_map
from tests.net.stranger import as_stranger
from tests.onions import V2_ONION, make_onion
from tests.sync.lists.signers import Key

OWN = LocalSection(domains=("own.example", "second.example"))
DAYS = 86400.0


def look(tmp_path: Path, **sections: Any) -> dict[str, Finding]:  # noqa: ANN401 -- sections of all kinds
    right = {
        "local": OWN,
        "map": MapSection(path=str(tmp_path / "map.cdb")),
        "sync": SyncSection(pins=str(tmp_path / "pins")),
    }

    async def run() -> list[Finding]:
        machine = Machine(msgspec.structs.replace(Configuration(), **(right | sections)))
        try:
            return await run_checks(CHECKS, machine, 120.0)
        finally:
            await machine.close()

    return {finding.check: finding for finding in asyncio.run(run())}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A folder with a map and pins without fault."""
    make_map(tmp_path / "map.cdb")
    (tmp_path / "pins").write_text(f"example.net {B}\nown.example none\n")
    return tmp_path


def faults(found: dict[str, Finding]) -> dict[str, Severity]:
    return {name: finding.severity for name, finding in found.items() if finding.severity is not Severity.OK}


def test_sound(sound: Path) -> None:
    found = look(sound)
    assert not faults(found)
    assert list(found) == ["map", "map-age", "local-domains", "pins", "store", "signed-lists", "exports"]


def test_domains_that_defer_are_counted(sound: Path) -> None:
    make_map(sound / "map.cdb", {"example.org": DEFERS, "example.net": ((B, 25),)})
    found = look(sound)
    assert not faults(found)
    assert "2 entries, 1 of them make mail wait: `onionmx explain DOMAIN` tells why" in found["map"].seen


def test_missing_map(sound: Path) -> None:
    (sound / "map.cdb").unlink()
    assert faults(look(sound)) == {
        "map": Severity.PROBLEM,
        "map-age": Severity.NOT_CHECKED,
        "local-domains": Severity.NOT_CHECKED,
    }
    assert "map" not in faults(look(sound, lookup=LookupSection(live=True)))


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda _: b"", lambda data: data[::-1]])
def test_damaged_map(sound: Path, damage: Any) -> None:  # noqa: ANN401 -- bytes to bytes
    file = sound / "map.cdb"
    file.write_bytes(damage(file.read_bytes()))
    found = look(sound)
    assert faults(found) == {"map": Severity.PROBLEM, "local-domains": Severity.NOT_CHECKED}
    assert found["map"].fix.splitlines() == [f"mv {file} {file}.damaged", "onionmx sync"]


@pytest.mark.parametrize(
    ("onion", "words"),
    [(V2_ONION, "version 2"), (make_onion(9, spoil_checksum=True), "checksum"), ("mail.example.org", "not an onion")],
)
def test_entries_that_cannot_be_used(sound: Path, onion: str, words: str) -> None:
    with (sound / "map.cdb").open("wb") as file, Writer(file) as writer:
        writer.put(b"good.example", A.encode())
        for number in range(7):
            writer.put(b"bad%d.example" % number, onion.encode())
    found = look(sound)
    assert faults(found) == {"map": Severity.PROBLEM}
    assert words in found["map"].seen
    assert "(and 2 more)" in found["map"].seen


def test_second_map_for_postfix(sound: Path) -> None:
    settings = MapSection(path=str(sound / "map.cdb"), transport_path=str(sound / "transport.cdb"))
    found = look(sound, map=settings)
    assert faults(found) == {"map": Severity.PROBLEM}
    assert f"{sound}/transport.cdb does not exist" in found["map"].seen
    make_map(sound / "transport.cdb")
    assert not faults(look(sound, map=settings))
    (sound / "transport.cdb").write_bytes(b"x")
    assert faults(look(sound, map=settings)) == {"map": Severity.PROBLEM}


def test_exports_that_do_not_follow_the_map(sound: Path) -> None:
    export = Export(path=str(sound / "domains.txt"))
    settings = MapSection(path=str(sound / "map.cdb"), exports=(export,))
    found = look(sound, map=settings)
    assert faults(found) == {"exports": Severity.WARNING}
    assert found["exports"].seen == f"not as the map says: {export.path}"
    write_exports(stale_exports({"example.org": ((A, 25),)}, [export]))
    assert not faults(look(sound, map=settings))
    make_map(sound / "map.cdb", {"example.net": ((B, 25),)})
    assert faults(look(sound, map=settings)) == {"exports": Severity.WARNING}
    (sound / "map.cdb").unlink()
    assert faults(look(sound, map=settings))["exports"] is Severity.NOT_CHECKED


@pytest.mark.parametrize(
    ("says", "severity"),
    [
        ("echo success", None),
        ("echo", None),
        ("exit 1", None),  # no systemd is running
        ("echo exit-code", Severity.WARNING),
        ("echo timeout", Severity.WARNING),
    ],
)
def test_unit_that_has_not_told_the_mta(
    sound: Path, monkeypatch: pytest.MonkeyPatch, says: str, severity: Severity | None
) -> None:
    (sound / "systemctl").write_text(f"#!/bin/sh\n{says}\n")
    (sound / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(sound), prepend=os.pathsep)
    export = Export(path=str(sound / "domains.txt"))
    write_exports(stale_exports({"example.org": ((A, 25),)}, [export]))
    found = look(sound, map=MapSection(path=str(sound / "map.cdb"), exports=(export,)))
    assert faults(found) == ({"exports": severity} if severity else {})
    if severity:
        assert found["exports"].seen.startswith("onionmx-map.service failed (")


def test_command_after_a_change_that_is_due(sound: Path) -> None:
    settings = SyncSection(pins=str(sound / "pins"), after=("/bin/sh", "-c", "echo no such table >&2; exit 1"))
    assert not faults(look(sound, sync=settings))
    mark_due(sound / "map.cdb")
    found = look(sound, sync=settings)
    assert faults(found) == {"exports": Severity.WARNING}
    assert found["exports"].seen == "sync.after has not run since the last change"
    run_after(sound / "map.cdb", settings.after)
    assert look(sound, sync=settings)["exports"].seen == "sync.after failed: /bin/sh: exit code 1: no such table"


def test_old_map(sound: Path) -> None:
    file = sound / "map.cdb"
    then = time.time() - 3 * DAYS
    os.utime(file, (then, then))
    found = look(sound)
    assert faults(found) == {"map-age": Severity.WARNING}
    assert "72.0 h since a sync, 48 h are allowed" in found["map-age"].seen


def test_old_map_that_sync_found_to_be_right(sound: Path) -> None:
    """Such a run leaves the map as it is and marks the lock file."""
    then = time.time() - 3 * DAYS
    os.utime(sound / "map.cdb", (then, then))
    (sound / "map.cdb.lock").touch()
    assert not faults(look(sound))


def test_local_domain_in_the_map(sound: Path) -> None:
    make_map(sound / "map.cdb", {"own.example": ((A, 25),), "example.org": ((A, 25),)})
    found = look(sound)
    assert faults(found) == {"local-domains": Severity.PROBLEM}
    assert found["local-domains"].fix.splitlines() == [f"{sound}/pins: own.example none", "onionmx sync"]


def test_local_domains_not_configured(sound: Path) -> None:
    found = look(sound, local=LocalSection())
    assert faults(found) == {"local-domains": Severity.NOT_CHECKED}
    assert "[local]" in found["local-domains"].fix


def test_local_domain_pinned_to_an_onion(sound: Path) -> None:
    (sound / "pins").write_text(f"second.example {A}\n")
    found = look(sound)
    assert faults(found) == {"pins": Severity.PROBLEM}
    assert found["pins"].fix == f"{sound}/pins: second.example none"


def test_mistakes_in_the_pins(sound: Path) -> None:
    (sound / "pins").write_text(f"example.org {V2_ONION}\nexample.net {A}:0\n")
    found = look(sound)
    assert faults(found) == {"pins": Severity.PROBLEM}
    assert f"{sound}/pins:1: " in found["pins"].seen
    assert "(and 1 more)" in found["pins"].seen


def test_missing_pins(sound: Path) -> None:
    (sound / "pins").unlink()
    assert faults(look(sound)) == {"pins": Severity.PROBLEM}


@pytest.mark.parametrize(
    ("store", "key_file", "severity"),
    [
        ("", "", Severity.OK),
        ("/var/lib/onionmx/other.sqlite", "", Severity.OK),
        ("valkeys://state.example.org", "", Severity.WARNING),
        ("valkey://127.0.0.1", "/etc/onionmx/store.key", Severity.OK),
    ],
)
def test_store(store: str, key_file: str, severity: Severity) -> None:
    found = judge_store(SyncSection(store=store, store_key_file=key_file))
    assert (found.check, found.severity) == ("store", severity)


def test_files_that_the_user_may_not_read_are_not_called_damaged() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own may be searched by nobody else
        folder = Path(name)
        folder.chmod(0o755)
        make_map(folder / "map.cdb")
        (folder / "pins").touch()
        for file in folder.iterdir():
            file.chmod(0)
        with as_stranger():
            found = look(folder)
    assert faults(found) == dict.fromkeys(("map", "local-domains", "pins"), Severity.NOT_CHECKED)
    assert "damaged" not in found["map"].fix


def test_lists_that_must_be_signed(sound: Path) -> None:
    key = Key(sound, "alice@example.org")
    (sound / "signers").write_text(key.line())
    signed, missing = sound / "domains", sound / "domain"
    signed.write_text("example.org\n")

    def found(*lists: Path) -> Finding:
        signers = {str(path): str(sound / "signers") for path in lists}
        return look(sound, sync=SyncSection(pins=str(sound / "pins"), signers=signers))["signed-lists"]

    assert found(signed).severity is Severity.PROBLEM
    assert f"{signed} and {signed}.sig" in found(signed).fix
    key.sign(signed)
    assert found(signed).seen == f"{signed}: signed by alice@example.org"
    assert found(missing).severity is Severity.WARNING
    assert found().seen == "no list has to be signed"
    signed.unlink()
    os.mkfifo(signed)
    assert found(signed).severity is Severity.NOT_CHECKED
