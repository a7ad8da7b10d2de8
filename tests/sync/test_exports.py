"""Exports follow the map: written with it, repaired where they are not as they should be."""

import shlex
from pathlib import Path

import pytest

from onionmx.cli import main
from onionmx.config import Configuration, Export, SyncSection
from onionmx.errors import MapError
from onionmx.shipped import shipped
from onionmx.sync.after import note_path, why_due
from onionmx.sync.run import RunOptions
from onionmx.target import Trust
from tests.acceptance import documents
from tests.mapfile.maps import A, B
from tests.sync.world import DAY, Silent, World, found, none


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host with a map of two domains, and two exports."""
    world = World(tmp_path)
    world.exports = (
        Export(path=str(tmp_path / "domains.txt"), under_onion=".onion"),
        Export(path=str(tmp_path / "routes"), template="{domain}:{onion}:{port}"),
    )
    world.lists = ["a.example", "b.example"]
    world.answers = {domain: found(domain, A, trust=Trust.DNSSEC) for domain in world.lists}
    world.run()
    return world


def exported(world: World) -> list[list[str]]:
    return [Path(export.path).read_text().splitlines() for export in world.exports]


def versions(world: World) -> list[tuple[int, int]]:
    statuses = [path.stat() for path in (world.map, *(Path(export.path) for export in world.exports))]
    return [(status.st_ino, status.st_mtime_ns) for status in statuses]


EXPECTED = [["a.example", "b.example", ".onion"], [f"a.example:{A}:25", f"b.example:{A}:25"]]


def test_they_follow_the_map(world: World) -> None:
    assert exported(world) == EXPECTED
    before = versions(world)
    assert not world.run().is_published
    assert versions(world) == before
    world.answers["a.example"] = found("a.example", B, trust=Trust.DNSSEC)
    world.answers["b.example"] = none("b.example", Trust.DNSSEC)
    world.pass_time(DAY)
    assert world.run(RunOptions(dry_run=True)).counts
    assert versions(world) == before
    assert world.run().is_published
    assert exported(world) == [["a.example", ".onion"], [f"a.example:{B}:25"]]


def test_they_are_repaired_though_the_map_stays(world: World) -> None:
    world.settings = SyncSection(after=("/bin/true",))
    domains, routes = (Path(export.path) for export in world.exports)

    def spoil(change: str) -> None:
        match change:
            case "gone":
                domains.unlink()
            case "written by hand":
                routes.write_text("mine\n")
            case "cut":
                routes.write_bytes(b"")
            case "a link":
                domains.unlink()
                domains.symlink_to(routes.name)

    for change in ("gone", "written by hand", "cut", "a link"):
        before = versions(world)[0]
        spoil(change)
        assert not world.run().is_published, change
        assert exported(world) == EXPECTED, change
        assert not domains.is_symlink()
        assert versions(world)[0] == before, change
        assert why_due(world.map) == "", change
        note_path(world.map).unlink()
        assert not world.run().is_published
        assert why_due(world.map) is None, change


def test_other_settings_are_taken_at_the_next_run(world: World) -> None:
    folder = world.folder
    world.settings = SyncSection(after=("/bin/true",))
    world.exports = (
        Export(path=str(folder / "domains.txt"), template="{domain} relay"),
        Export(path=str(folder / "third")),
    )
    assert not world.run().is_published
    assert exported(world) == [["a.example relay", "b.example relay"], ["a.example", "b.example"]]
    assert why_due(world.map) == ""
    world.exports = ()
    assert not world.run().is_published


def test_domain_that_defers_is_in_them(world: World) -> None:
    world.lists.append("c.example")
    world.answers["c.example"] = found("c.example", B)
    world.prover = Silent()
    world.run()
    assert exported(world)[0] == ["a.example", "b.example", "c.example", ".onion"]
    assert exported(world)[1][2] == "c.example:could-not-tell.onion:25"


def test_one_that_cannot_be_written_keeps_the_map_as_it_is(world: World) -> None:
    before = world.map.read_bytes()
    path = Path(world.exports[1].path)
    path.unlink()
    path.mkdir()
    world.lists.append("c.example")
    world.answers["c.example"] = found("c.example", B)
    with pytest.raises(MapError, match=f"{path} cannot be written: Is a directory"):
        world.run()
    assert world.map.read_bytes() == before
    path.rmdir()
    assert world.run().is_published
    assert exported(world)[0] == ["a.example", "b.example", "c.example", ".onion"]


def test_the_command_is_due_after_a_change_alone(world: World) -> None:
    world.settings = SyncSection(after=("/bin/true",))
    world.run()
    assert why_due(world.map) is None
    world.lists.append("c.example")
    world.answers["c.example"] = found("c.example", B)
    world.run(RunOptions(dry_run=True))
    assert why_due(world.map) is None
    world.run()
    assert why_due(world.map) == ""
    world.settings = SyncSection()
    note_path(world.map).unlink()
    world.lists.remove("c.example")
    world.run()
    assert why_due(world.map) is None


def test_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands of docs/sync.md print what its settings have sync write."""
    text = documents.section(shipped("docs/sync.md").read_text(), "Lists for other MTAs")
    shell, file, command = documents.steps(text)
    here = f"{tmp_path}/"
    settings = f"[map]\npath = '{here}map.cdb'\n" + documents.replace(
        file.text.partition("\n")[2] + command.text, {"/var/lib/onionmx/": here}
    )
    (tmp_path / "onionmx.toml").write_text(settings)
    (tmp_path / "seed").write_text(f"example.org {A}\nexample.net {B}:2525\n")
    configuration = ["--config", str(tmp_path / "onionmx.toml")]
    assert main(["map", "import", str(tmp_path / "seed"), *configuration]) == 0
    assert "sync.after: /usr/local/bin/tell-mta cannot be run: " in capsys.readouterr().err
    exports = Configuration.load(tmp_path / "onionmx.toml").map.exports
    for line, export in zip(shell.text.splitlines(), exports, strict=True):
        program, *words = shlex.split(line)
        assert program == "onionmx"
        assert main([*words, *configuration]) == 0
        assert capsys.readouterr().out == Path(export.path).read_text()
    assert Path(exports[1].path).read_text().splitlines() == [
        f"{domain}:[127.0.0.1],10025" for domain in ("example.net", "example.org", ".onion")
    ]


@pytest.mark.parametrize("is_removed", [False, True], ids=["another export", "an export is gone"])
def test_a_pin_that_goes_with_them_leaves_nothing_behind(world: World, *, is_removed: bool) -> None:
    """The map is still the one that sync has built: no entry of it is of a time before the state."""
    world.pins = {"pinned.example": ((B, 25),)}
    world.lists.append("pinned.example")
    world.run()
    world.pins = {}
    if is_removed:
        Path(world.exports[0].path).unlink()
    else:
        world.exports += (Export(path=str(world.folder / "more")),)
    world.run()
    assert "pinned.example" not in world.entries
    assert world.record("pinned.example").established is None
