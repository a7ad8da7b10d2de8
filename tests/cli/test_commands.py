"""Commands as a person or a cron job calls them."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import dns.flags
import pytest

from onionmx.cli import COMMANDS, command, main
from onionmx.domain import normalize
from onionmx.mapfile.cdb import DEFERS, DEFERS_WHY, MapReader
from onionmx.mapfile.write import last_checked, writer_lock
from onionmx.onion import Endpoint
from tests.dns.scripted import Reaction, reply, scripted_server
from tests.mapfile.maps import A, B, C, make_map
from tests.onions import V2_ONION

SRV = "_onion-mx._tcp."


def srv(domain: str, *onions: str, flags: int = 0) -> dict[str, Reaction]:
    records = [f"{SRV}{domain}. 60 IN SRV {priority} 0 25 {onion}." for priority, onion in enumerate(onions)]
    return {SRV + domain: reply(*records, flags=dns.flags.RA | flags)}


FAILING = reply(rcode="SERVFAIL")


class Site:
    """A folder with configuration, lists, pins and map, and a name server that does as a test says."""

    def __init__(self, folder: Path, reactions: dict[str, Reaction], address: str) -> None:
        self.reactions = reactions
        self.map = folder / "map.cdb"
        self.domains = folder / "domains"
        self.pins = folder / "pins"
        self.transport = folder / "transport.cdb"
        self.configuration = folder / "onionmx.toml"
        self.configuration.write_text(
            f"""
            [map]
            path = "{self.map}"
            transport_path = "{self.transport}"
            [dns]
            nameservers = ["{address}"]
            retry_delay = 0
            [sync]
            domains = ["{self.domains}"]
            pins = "{self.pins}"
            """
        )
        self.pins.write_text("")

    def run(self, *words: str | Path) -> int:
        command, *rest = map(str, words)
        return main([command, "--config", str(self.configuration), *rest])

    def import_map(self, *words: str | Path) -> int:
        return main(["map", "import", "--config", str(self.configuration), *map(str, words)])

    def set(self, table: str, line: str) -> None:
        self.configuration.write_text(f"{self.configuration.read_text()}\n[{table}]\n{line}\n")

    @property
    def entries(self) -> dict[str, tuple[Endpoint, ...]]:
        with MapReader(self.map) as reader:
            return dict(reader.entries())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    reactions: dict[str, Reaction] = {}
    ready: list[str] = []
    started = threading.Event()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        async with scripted_server(reactions) as (_, address):
            ready.append(address)
            started.set()
            await done.wait()

    server = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    server.start()
    started.wait()
    yield Site(tmp_path, reactions, ready[0])
    loop.call_soon_threadsafe(done.set)
    server.join()
    loop.close()


def test_sync_from_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.reactions.update(srv("example.org", A, B) | srv("example.net", C, flags=dns.flags.AD))
    site.domains.write_text("EXAMPLE.org.\nexample.net\nexample.com\n")
    site.pins.write_text(f"pinned.example {C}:2525\nexample.edu none\n")
    assert site.run("sync") == 0
    assert site.entries == {
        "example.net": ((C, 25),),
        "example.org": ((A, 25), (B, 25)),
        "pinned.example": ((C, 2525),),
    }
    output = capsys.readouterr().out.splitlines()
    assert output == [
        f"added     example.net: {C} (srv, dnssec)",
        f"added     example.org: {A} {B} (srv, unsigned)",
        f"added     pinned.example: {C}:2525 (pin, pinned)",
        f"3 added, 0 changed, 0 removed, 0 kept, 0 undecided, 2 without an onion MX; {site.map}",
    ]


def test_local_domains_never_enter_the_map(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    make_map(site.map, {"own.example": ((A, 25),), "example.org": ((A, 25),)})
    site.reactions.update(srv("example.org", A) | srv("own.example", A))
    site.domains.write_text("example.org\nown.example\n")
    site.pins.write_text(f"pinned.own.example {C}\n")
    site.configuration.write_text(
        f'[local]\ndomains = ["own.example", "Pinned.OWN.example"]\n{site.configuration.read_text()}'
    )
    assert site.run("sync") == 0
    assert site.entries == {"example.org": ((A, 25),)}
    assert "removed   own.example: local domain" in capsys.readouterr().out


def test_second_sync_changes_nothing_and_is_quiet_when_asked(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.reactions.update(srv("example.org", A, B))
    site.domains.write_text("example.org\n")
    assert site.run("sync") == 0
    before = site.map.stat()
    version = (before.st_ino, before.st_mtime_ns)
    capsys.readouterr()
    assert site.run("sync") == 0
    assert "1 kept" in capsys.readouterr().out
    assert site.run("sync", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert (site.map.stat().st_ino, site.map.stat().st_mtime_ns) == version
    lock = site.map.with_name("map.cdb.lock")
    os.utime(lock, (0, 0))
    assert last_checked(site.map) == before.st_mtime
    assert site.run("sync", "--quiet") == 0
    assert last_checked(site.map) == lock.stat().st_mtime > before.st_mtime


def test_sync_reports_every_kind_of_change(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("changed", "failing", "gone", "kept", "unlisted")
    make_map(site.map, {f"{name}.example": ((A, 25),) for name in names})
    site.reactions.update(srv("changed.example", B, flags=dns.flags.AD) | srv("kept.example", A))
    site.reactions[f"{SRV}gone.example"] = reply(rcode="NXDOMAIN", flags=dns.flags.RA | dns.flags.AD)
    site.reactions[f"{SRV}failing.example"] = FAILING
    site.reactions[f"{SRV}new.example"] = FAILING
    site.reactions[f"{SRV}v2.example"] = reply(f"{SRV}v2.example. 60 IN SRV 0 0 25 {V2_ONION}.")
    site.domains.write_text("changed.example\nfailing.example\ngone.example\nkept.example\nnew.example\nv2.example\n")
    assert site.run("sync", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["counts"] == {"added": 0, "changed": 1, "removed": 2, "kept": 1, "undecided": 2, "without": 1}
    by_domain = {decision["domain"]: decision for decision in report["domains"]}
    assert by_domain["changed.example"]["old"] == [[A, 25]]
    assert by_domain["changed.example"]["new"] == [[B, 25]]
    assert by_domain["failing.example"]["new"] == [[A, 25]]
    assert "SERVFAIL" in by_domain["failing.example"]["reason"]
    assert "no such name" in by_domain["gone.example"]["reason"]
    assert "in no list" in by_domain["unlisted.example"]["reason"]
    assert "version 2" in by_domain["v2.example"]["notes"][0]
    assert site.entries == {
        "changed.example": ((B, 25),),
        "failing.example": ((A, 25),),
        "kept.example": ((A, 25),),
    }


def test_nothing_is_published_when_every_lookup_failed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    before = make_map(site.map).read_bytes()
    site.reactions[f"{SRV}example.org"] = site.reactions[f"{SRV}example.net"] = FAILING
    site.domains.write_text("example.org\nexample.net\n")
    site.pins.write_text(f"pinned.example {A}\n")
    assert site.run("sync") == 75
    assert "every lookup failed (2), nothing was published" in capsys.readouterr().err
    assert site.map.read_bytes() == before


def test_second_run_at_the_same_time(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    before = make_map(site.map).read_bytes()
    site.domains.write_text("example.com\n")
    with writer_lock(site.map):
        assert site.run("sync") == 75
    assert "another process is writing" in capsys.readouterr().err
    assert site.map.read_bytes() == before


def test_command_after_a_change(site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It runs when map or exports have changed, and then until it has succeeded; sync ends with 0 in any case."""
    domains, ran, ready = tmp_path / "list.txt", tmp_path / "ran", tmp_path / "ready"
    script = f"wc -l <{domains} >>{ran}; test -e {ready} || {{ echo no such MTA >&2; exit 7; }}"
    site.configuration.write_text(
        site.configuration.read_text()
        .replace("transport_path", f'exports = [{{path = "{domains}"}}]\ntransport_path')
        .replace("[sync]", f"[sync]\nafter = ['/bin/sh', '-c', '{script}']")
    )
    site.reactions.update(srv("example.org", A))
    site.domains.write_text("example.org\n")
    assert site.run("sync", "--dry-run") == 0
    assert not ran.exists()
    for runs in (1, 2):
        assert site.run("sync", "--quiet") == 0
        assert (
            "onionmx: sync.after: /bin/sh: exit code 7: no such MTA; the next sync runs it again\n"
            in capsys.readouterr().err
        )
        assert ran.read_text() == "1\n" * runs
    ready.touch()
    for _ in range(2):
        assert site.run("sync", "--quiet") == 0
        assert capsys.readouterr().err == ""
        assert ran.read_text() == "1\n" * 3
    (tmp_path / "seed").write_text(f"example.org {A}\nexample.net {B}\n")
    for _ in range(2):
        assert site.import_map(tmp_path / "seed") == 0
        assert ran.read_text() == "1\n1\n1\n2\n"
    assert domains.read_text() == "example.net\nexample.org\n"
    domains.unlink()
    ready.unlink()
    assert site.import_map(tmp_path / "seed") == 0
    assert "exit code 7" in capsys.readouterr().err
    assert domains.read_text() == "example.net\nexample.org\n"
    # What another program has put into the map is undone, the list too.
    ready.touch()
    assert site.run("sync") == 0
    assert ran.read_text() == "1\n1\n1\n2\n2\n1\n"
    assert domains.read_text() == "example.org\n"


def test_exports_are_of_no_other_map(site: Site, tmp_path: Path) -> None:
    site.set("[map.exports]", f'path = "{tmp_path}/list.txt"')
    site.configuration.write_text(site.configuration.read_text().replace("[sync]", '[sync]\nafter = ["/bin/false"]'))
    (tmp_path / "seed").write_text(f"example.net {B}\n")
    other = tmp_path / "other"
    site.domains.write_text("")
    assert site.import_map(tmp_path / "seed", "--map", other / "map.cdb") == 0
    assert site.run("sync", "--map", other / "map.cdb", "--accept") == 0
    assert not (tmp_path / "list.txt").exists()
    assert not site.transport.exists()
    assert not (other / "map.cdb.after").exists()


@pytest.mark.parametrize("link", [False, True])
def test_exports_are_of_the_map_however_it_is_written(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, link: bool
) -> None:
    """A list that stays behind leaves mail for new domains to the open internet."""
    exported, ran = tmp_path / "list.txt", tmp_path / "ran"
    site.set("[map.exports]", f'path = "{exported}"')
    text = site.configuration.read_text().replace("[sync]", f'[sync]\nafter = ["/usr/bin/touch", "{ran}"]')
    site.configuration.write_text(text)
    site.reactions.update(srv("example.org", A))
    site.domains.write_text("example.org\n")
    assert site.run("sync") == 0
    ran.unlink()
    (tmp_path / "seed").write_text(f"example.net {B}\n")
    monkeypatch.chdir(site.map.parent)
    written = tmp_path / "link.cdb" if link else Path(site.map.name)
    if link:
        written.symlink_to(site.map)
    assert site.import_map(tmp_path / "seed", "--map", written) == 0
    assert exported.read_text() == "example.net\n"
    assert ran.exists()
    assert written.is_symlink() == link


def test_dry_run_writes_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.reactions.update(srv("example.org", A))
    site.domains.write_text("example.org\n")
    assert site.run("sync", "--dry-run") == 0
    assert "not written (dry run)" in capsys.readouterr().out
    assert not site.map.exists()


def test_damaged_map_stays(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.map.write_bytes(b"\x7fELF" * 1000)
    site.reactions.update(srv("example.org", A))
    site.domains.write_text("example.org\n")
    assert site.run("sync") == 75
    assert capsys.readouterr().err.count("\n") == 1
    assert site.map.read_bytes() == b"\x7fELF" * 1000


def test_bad_pins_and_lists_stop_the_run(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    before = make_map(site.map).read_bytes()
    site.domains.write_text("example.org\nuser@example.org\n")
    assert site.run("sync") == 78
    assert f"{site.domains}:2: 'user@example.org' is an e-mail address" in capsys.readouterr().err
    site.pins.write_text(f"example.org {V2_ONION}\nexample.net {A}:0\n")
    assert site.run("sync") == 78
    assert [line.split(" ")[1] for line in capsys.readouterr().err.splitlines()] == [
        f"{site.pins}:1:",
        f"{site.pins}:2:",
    ]
    assert site.map.read_bytes() == before


def test_missing_list_and_nothing_to_do(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run("sync") == 78
    assert "sync.domains" in capsys.readouterr().err
    assert site.run("sync", tmp_path / "none") == 64
    assert main(["sync", "--pins", str(site.pins)]) == 78
    assert "nothing to do" in capsys.readouterr().err


def test_second_map_for_postfix(site: Site) -> None:
    site.pins.write_text(f"example.org {A}:2525 {B}\n")
    site.domains.write_text("")
    assert site.run("sync") == 0
    with MapReader(site.transport) as reader:
        assert reader.get_value("example.org") == f"smtptor:[{A}]:2525, [{B}]:25".encode()
        assert reader.get_value(".onion") == b"smtptor:"
    before = site.transport.stat().st_ino
    assert site.run("sync") == 0
    assert site.transport.stat().st_ino == before


def test_second_map_may_lead_to_the_relay(site: Site) -> None:
    site.pins.write_text(f"example.org {A}\nbücher.example {A}\n")
    site.domains.write_text("")
    text = site.configuration.read_text().replace("[map]", '[map]\ntransport_result = "onion:inet:127.0.0.1:10026"')
    site.configuration.write_text(text)
    assert site.run("sync") == 0
    with MapReader(site.transport) as reader:
        for domain in ("example.org", "xn--bcher-kva.example", "bücher.example", ".onion", "onion"):
            assert reader.get_value(domain) == b"onion:inet:127.0.0.1:10026"


@pytest.mark.parametrize(
    ("domain", "other"), [("straße.example", "strasse"), ("\u03c3\u03b1\u03c2.example", "\u03c3\u03b1\u03c3")]
)
def test_second_map_has_no_key_that_is_another_domains_name(
    site: Site, capsys: pytest.CaptureFixture[str], domain: str, other: str
) -> None:
    """Postfix folds the case of a key: what it looks up for this domain may be somebody else's."""
    site.pins.write_text(f"{domain} {A}\n")
    site.domains.write_text("")
    assert site.run("sync") == 0
    output = capsys.readouterr().out
    assert f"Postfix looks its Unicode form up as {other}.example" in output
    with MapReader(site.transport) as reader:
        assert [key.decode() for key, _ in reader.records()] == [".onion", "onion", normalize(domain)]


def test_lookup_asks_pins_then_map_then_dns(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.set("lookup", "live = true")
    make_map(site.map, dict.fromkeys(("mapped.example", "pinned.example"), ((B, 25),)))
    site.pins.write_text(f"pinned.example {A}\nnever.example none\n")
    for name in ("mapped.example", "pinned.example", "never.example", "asked.example"):
        site.reactions.update(srv(name, C, flags=dns.flags.AD))
    names = ("pinned.example", "mapped.example", "Asked.Example.")
    assert site.run("lookup", "--json", *names) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["source"], one["trust"], one["ttl"]) for one in found] == [
        ("pin", "pinned", None),
        ("map", None, None),
        ("srv", "dnssec", 60),
    ]
    assert [one["targets"][0]["onion"] for one in found] == [A, B, C]
    assert site.run("lookup", "never.example") == 1
    assert site.run("lookup", "--live", "--json", "pinned.example") == 0
    assert json.loads(capsys.readouterr().out.partition("\n[")[2].join(["[", ""]))[0]["source"] == "srv"


def test_lookup_table_and_exit_codes(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.set("lookup", "live = true")
    site.reactions.update(srv("example.org", A, B))
    site.reactions[f"{SRV}failing.example"] = FAILING
    assert site.run("lookup", "example.org") == 0
    output = capsys.readouterr().out
    assert f"{A}:25" in output
    assert "unsigned" in output
    assert "60 s" in output
    assert site.run("lookup", "example.org", "example.com") == 1
    assert "none: no such name in DNS" in capsys.readouterr().out
    assert site.run("lookup", "example.org", "failing.example", "example.com") == 75
    assert "could not tell: _onion-mx._tcp.failing.example" in capsys.readouterr().out
    make_map(site.map, {"example.org": DEFERS})
    assert site.run("lookup", "example.org") == 75
    assert "could not tell: its record names an onion MX" in capsys.readouterr().out
    assert site.run("lookup", "--json", "example.org") == 75
    assert json.loads(capsys.readouterr().out)[0]["reason"] == DEFERS_WHY
    site.map.write_bytes(b"x")
    assert site.run("lookup", "example.org") == 75
    assert site.run("lookup", "user@example.org") == 64


def test_map_commands(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = tmp_path / "seed"
    seed.write_text(f"example.org {A}\nexample.net {A} {B}:2525\n")
    chosen = ("--map", str(site.map))
    assert main(["map", "import", str(seed), *chosen]) == 0
    assert main(["map", "get", "EXAMPLE.net.", *chosen]) == 0
    assert capsys.readouterr().out == f"{site.map}: 2 entries\n{A} {B}:2525\n"
    assert main(["map", "get", "example.com", *chosen]) == 1
    assert main(["map", "list", *chosen]) == 0
    assert main(["map", "export", *chosen]) == 0
    assert capsys.readouterr().out == seed.read_text() * 2
    assert main(["map", "list", "--json", *chosen]) == 0
    assert json.loads(capsys.readouterr().out)[1]["targets"][1] == {"onion": B, "port": 2525}
    for name in ("map.yml", "transport"):
        assert main(["map", "export", "--format", name, *chosen]) == 0
        copy = tmp_path / name
        copy.write_text(capsys.readouterr().out)
        assert main(["map", "import", "--format", name, str(copy), "--map", f"{copy}.cdb"]) == 0
        assert main(["map", "diff", str(site.map), f"{copy}.cdb"]) == 0
    capsys.readouterr()
    other = make_map(tmp_path / "other.cdb", {"example.org": ((C, 25),), "example.com": ((C, 25),)})
    assert main(["map", "diff", str(site.map), str(other)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"+ example.com {C}",
        f"- example.net {A} {B}:2525",
        f"~ example.org {A} -> {C}",
    ]
    assert main(["map", "diff", "--json", str(site.map), str(other)]) == 1
    assert main(["map", "diff", str(site.map), str(tmp_path / "none")]) == 75


def test_map_commands_with_a_domain_that_defers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = make_map(tmp_path / "old.cdb", {"example.org": ((A, 25),)})
    new = make_map(tmp_path / "new.cdb", {"example.org": DEFERS})
    assert main(["map", "get", "example.org", "--map", str(new)]) == 75
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"onionmx: example.org: {DEFERS_WHY}\n")
    assert main(["map", "list", "--map", str(new)]) == 0
    assert main(["map", "diff", str(old), str(new)]) == 1
    assert main(["map", "check", "--map", str(new)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "example.org could-not-tell.onion",
        f"~ example.org {A} -> could-not-tell.onion",
        f"{new}: 1 entries, 1 of them could-not-tell.onion, 0 mistakes",
    ]
    for name in ("seed", "map.yml", "transport"):
        assert main(["map", "export", "--format", name, "--map", str(new)]) == 0
        copy = tmp_path / name
        copy.write_text(capsys.readouterr().out)
        assert main(["map", "import", "--format", name, str(copy), "--map", f"{copy}.cdb"]) == 0
        assert main(["map", "diff", str(new), f"{copy}.cdb"]) == 0
        capsys.readouterr()


def test_map_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = make_map(tmp_path / "good.cdb")
    assert main(["map", "check", "--map", str(good)]) == 0
    from cdblib import Writer  # noqa: PLC0415

    bad = tmp_path / "bad.cdb"
    with bad.open("wb") as file, Writer(file) as writer:
        writer.put(b"example.org", A.encode())
        writer.put(b"example.org", B.encode())
        writer.put(b"EXAMPLE.net", A.encode())
        writer.put(b"user@example.com", A.encode())
        writer.put(b"v2.example", V2_ONION.encode())
        writer.put(b"form.example", f"{A}:25".encode())
    assert main(["map", "check", "--map", str(bad)]) == 1
    output = capsys.readouterr().out
    for words in ("a second entry", "never found", "e-mail address", "version 2", "not in normal form", "5 mistakes"):
        assert words in output
    good.write_bytes(good.read_bytes()[:-1])
    assert main(["map", "check", "--map", str(good)]) == 75
    assert main(["map", "check", "--map", str(tmp_path / "none")]) == 75


def test_map_import_refuses_bad_lines_and_keeps_the_old_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_map(tmp_path / "map.cdb")
    before = path.read_bytes()
    seed = tmp_path / "seed"
    seed.write_text(f"example.org {A}\nexample.net {V2_ONION}\n")
    assert main(["map", "import", str(seed), "--map", str(path)]) == 64
    assert f"{seed}:2: " in capsys.readouterr().err
    assert path.read_bytes() == before
    yml = tmp_path / "map.yml"
    yml.write_text(f"{V2_ONION}:\n  - old.example\n{A}:\n  - new.example\n")
    assert main(["map", "import", "-f", "map.yml", str(yml), "--map", str(path)]) == 0
    captured = capsys.readouterr()
    assert "dead version 2 onion; ignored" in captured.err
    assert captured.out == f"{path}: 1 entries\n"


def test_config_is_printed_and_read_back(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run("config") == 0
    printed = tmp_path / "printed.toml"
    printed.write_text(capsys.readouterr().out)
    assert main(["config", "--config", str(printed)]) == 0
    assert capsys.readouterr().out == printed.read_text()
    site.configuration.write_text("[dns]\ntimeouts = 1\n")
    assert site.run("config") == 78
    assert "unknown field `timeouts`" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["-h"], *([name, "--help"] for name in COMMANDS)])
def test_every_command_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "Usage: onionmx" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["nonsense"], ["sync", "--nonsense"], ["lookup"], ["map", "get"], ["map", "import", "/none"]]
)
def test_usage_errors(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 64
    assert capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_short_help_is_that_of_the_command(name: str) -> None:
    loaded = command.get_command(click.Context(command), name)
    assert loaded is not None
    assert COMMANDS[name] == loaded.get_short_help_str(1000)


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_help_loads_no_subcommand(words: list[str]) -> None:
    """People wait for it, and shells complete by it; each module that it loads takes time."""
    code = (
        "import sys\nbefore = set(sys.modules)\nfrom onionmx.cli import main\n"
        f"main({words})\nprint('loaded', *(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.rpartition("loaded ")[2].split()
    ours = {"onionmx", "onionmx.cli", "onionmx.cli.crash", "onionmx.cli.log", "onionmx.errors", "onionmx.text"}
    ours |= {"onionmx.log", "onionmx.log.fields", "onionmx.log.formats", "onionmx.log.handlers"}
    assert {name for name in loaded if name.startswith("onionmx")} == ours
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"onionmx", "click"}
    assert len(loaded) < 150


def test_reading_a_setting_does_not_load_the_relay() -> None:
    code = "import sys, onionmx.cli.probe, onionmx.doctor.checks.mail; sys.exit('onionmx.relay.service' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) in (0, 64)
    assert "Commands:" in "".join(capsys.readouterr())
