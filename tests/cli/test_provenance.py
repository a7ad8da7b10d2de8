"""Signed lists in `onionmx sync`, `map import` and `domains`, and what `map export --format json` tells of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from onionmx.cli import main
from tests.cli import test_commands
from tests.cli.test_commands import Site, srv
from tests.mapfile.maps import A, B, C
from tests.sync.lists.signers import Key

site = test_commands.site


class Signed:
    """A site whose list must be signed."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.alice = Key(folder, "alice@example.org")
        self.allowed = folder / "allowed_signers"
        self.allowed.write_text(self.alice.line())
        self.yml = folder / "map.yml"
        lines = "".join(f'"{file}" = "{self.allowed}"\n' for file in (site.domains, self.yml))
        site.set("sync.signers", lines)
        site.reactions.update(srv("example.org", A) | srv("example.net", B))

    @property
    def provenance(self) -> Path:
        return self.site.map.with_name("map.cdb.signed")

    def write(self, text: str, file: Path | None = None) -> None:
        """A list, signed by Alice."""
        path = file or self.site.domains
        path.write_text(text)
        self.alice.sign(path)

    def files(self) -> dict[str, bytes]:
        """Everything that sync keeps."""
        return {
            path.name: path.read_bytes()
            for path in self.site.map.parent.iterdir()
            if path.name.startswith(("map.cdb", "state", "transport")) and not path.name.endswith(".lock")
        }


@pytest.fixture
def signed(site: Site, tmp_path: Path) -> Signed:
    return Signed(site, tmp_path)


def refused(signed: Signed, capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 78) -> str:
    """What a command says that changes nothing."""
    before = signed.files()
    capsys.readouterr()
    assert main([*map(str, words), "--config", str(signed.site.configuration)]) == code
    assert signed.files() == before
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


def exported(site: Site, capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401 -- JSON
    capsys.readouterr()
    assert main(["map", "export", "--format", "json", "--config", str(site.configuration)]) == 0
    return json.loads(capsys.readouterr().out)


def test_unsigned_and_wrongly_signed_changes_change_nothing(
    signed: Signed, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    signed.write("example.org\nexample.net\n")
    assert signed.site.run("sync") == 0
    assert set(signed.site.entries) == {"example.org", "example.net"}
    signed.site.domains.write_text("example.org\n")
    assert "is no signature for" in refused(signed, capsys, "sync")
    Key(tmp_path, "mallory@example.org").sign(signed.site.domains)
    assert "is not signed by one of those in" in refused(signed, capsys, "sync")
    Path(f"{signed.site.domains}.sig").unlink()
    for words in (("sync",), ("sync", "--all"), ("sync", "--dry-run"), ("sync", str(signed.site.domains))):
        assert f"{signed.site.domains} must be signed (sync.signers)" in refused(signed, capsys, *words)
    assert set(signed.site.entries) == {"example.org", "example.net"}
    signed.write("example.org\n")
    assert signed.site.run("sync", "--accept") == 0
    assert set(signed.site.entries) == {"example.org"}


def test_one_bad_list_stops_the_others_too(signed: Signed, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    signed.write("example.org\n")
    assert signed.site.run("sync") == 0
    other = tmp_path / "other"
    other.write_text("example.net\n")
    signed.site.domains.write_text("")
    refused(signed, capsys, "sync", other, signed.site.domains)


def test_older_list_is_noticed(signed: Signed, capsys: pytest.CaptureFixture[str]) -> None:
    signed.write("# serial: 10\nexample.org\n")
    old, signature = signed.site.domains.read_bytes(), Path(f"{signed.site.domains}.sig").read_bytes()
    assert signed.site.run("sync") == 0
    signed.write("# serial: 11\nexample.org\nexample.net\n")
    assert signed.site.run("sync", "--dry-run") == 0
    assert signed.site.run("sync") == 0
    signed.site.domains.write_bytes(old)
    Path(f"{signed.site.domains}.sig").write_bytes(signature)
    said = refused(signed, capsys, "sync")
    assert f"has serial 10, and had 11 before: an older list; if that is meant, remove {signed.provenance}" in said
    signed.write("example.org\n")
    assert "has no serial, and had 11 before" in refused(signed, capsys, "sync")
    signed.provenance.unlink()
    assert signed.site.run("sync") == 0
    assert set(signed.site.entries) == {"example.org"}


def test_damaged_file_of_signers_is_not_taken_for_an_empty_one(
    signed: Signed, capsys: pytest.CaptureFixture[str]
) -> None:
    signed.write("# serial: 10\nexample.org\n")
    assert signed.site.run("sync") == 0
    for damage in (b"", b"{", b'{"format":2}', b'{"format":1,"serials":{"a":"b"}}', b"\xff"):
        signed.provenance.write_bytes(damage)
        assert f"{signed.provenance}: " in refused(signed, capsys, "sync", code=75)
        assert "move it away" in refused(signed, capsys, "map", "export", "--format", "json", code=75)


def test_import_of_a_signed_map_yml(signed: Signed, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import_it = ("map", "import", "--format", "map.yml")
    config = ("--config", str(signed.site.configuration))
    signed.write(f"---\n# serial: 3\n{A}:\n- example.org\n{C}:\n- other.example\n", signed.yml)
    assert main([*import_it, str(signed.yml), *config]) == 0
    assert set(signed.site.entries) == {"example.org", "other.example"}
    before = signed.files()
    for text, why in (
        (f"# serial: 4\n{B}:\n- example.org\n", "is no signature for"),
        (None, "has serial 2, and had 3 before"),
    ):
        if text is None:
            signed.write(f"# serial: 2\n{B}:\n- example.org\n", signed.yml)
        else:
            signed.yml.write_text(text)
        capsys.readouterr()
        assert main([*import_it, str(signed.yml), *config]) == 78
        assert why in capsys.readouterr().err
        assert signed.files() == before
    unsigned = tmp_path / "seed"
    unsigned.write_text(f"example.org {A}\n")
    assert main(["map", "import", str(unsigned), *config]) == 0
    assert json.loads(signed.provenance.read_bytes())["signers"] == {}


def test_domains_of_a_signed_map_yml(signed: Signed, capsys: pytest.CaptureFixture[str]) -> None:
    signed.write(f"{A}:\n- example.org\n", signed.yml)
    assert signed.site.run("domains", "--from-map-yml", signed.yml) == 0
    assert capsys.readouterr().out == "example.org\n"
    signed.yml.write_text(f"{A}:\n- example.org\n- evil.example\n")
    assert "is no signature for" in refused(signed, capsys, "domains", "--from-map-yml", signed.yml)
    signed.provenance.write_text(f'{{"format":1,"serials":{{"{signed.yml}":5}}}}')
    signed.write(f"# serial: 4\n{A}:\n- example.org\n", signed.yml)
    assert "has serial 4, and had 5 before" in refused(signed, capsys, "domains", "--from-map-yml", signed.yml)
    signed.site.domains.write_text("evil.example\n")
    assert "must be signed" in refused(signed, capsys, "domains", "--list", signed.site.domains)


def test_export_tells_where_each_entry_is_from(
    signed: Signed, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("example.net\n")
    configured = signed.site.configuration.read_text()
    both = configured.replace("domains = [", f'domains = ["{other}", ')
    signed.site.configuration.write_text(both)
    signed.site.pins.write_text(f"pinned.example {C}:2525\n")
    signed.write("example.org\npinned.example\nnone.example\n")
    assert signed.site.run("sync") == 0
    found = exported(signed.site, capsys)
    first_seen = [entry.pop("first_seen") for entry in found["entries"]]
    assert [seen is None or seen > 1.7e9 for seen in first_seen] == [True] * 3
    assert found == {
        "format": 1,
        "entries": [
            {
                "domain": "example.net",
                "targets": [{"onion": B, "port": 25}],
                "source": "srv",
                "trust": "unsigned",
                "signer": None,
                "vouched": None,
            },
            {
                "domain": "example.org",
                "targets": [{"onion": A, "port": 25}],
                "source": "srv",
                "trust": "unsigned",
                "signer": "alice@example.org",
                "vouched": "domain",
            },
            {
                "domain": "pinned.example",
                "targets": [{"onion": C, "port": 2525}],
                "source": "pin",
                "trust": "pinned",
                "signer": None,
                "vouched": None,
            },
        ],
    }
    again = exported(signed.site, capsys)
    assert [entry.pop("first_seen") for entry in again["entries"]] == first_seen
    assert again == found


def test_signer_changes_with_the_list_alone(signed: Signed, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    signed.write("example.org\n")
    assert signed.site.run("sync") == 0
    bob = Key(tmp_path, "bob@example.org")
    signed.allowed.write_text(bob.line())
    bob.sign(signed.site.domains)
    assert signed.site.run("sync") == 0
    assert [entry["signer"] for entry in exported(signed.site, capsys)["entries"]] == ["bob@example.org"]
    signed.site.reactions.update(srv("example.org", B))
    for words in (("--all",), ("--accept-change", "example.org")):
        assert signed.site.run("sync", *words) == 0
    assert signed.site.entries == {"example.org": ((B, 25),)}
    assert [entry["signer"] for entry in exported(signed.site, capsys)["entries"]] == ["bob@example.org"]


def test_imported_entry_has_its_signer_until_dns_says_otherwise(
    signed: Signed, capsys: pytest.CaptureFixture[str]
) -> None:
    signed.write(f"{A}:\n- example.org\n{C}:\n- example.net\n", signed.yml)
    words = ["map", "import", "--format", "map.yml", str(signed.yml), "--config", str(signed.site.configuration)]
    assert main(words) == 0
    signed.write("example.org\nexample.net\n")
    assert signed.site.run("sync", "--accept") == 0
    told = {entry["domain"]: entry["vouched"] for entry in exported(signed.site, capsys)["entries"]}
    assert told == {"example.org": "targets", "example.net": "targets"}
    assert signed.site.run("sync", "--accept-change", "example.net") == 0
    assert signed.site.run("sync") == 0
    told = {entry["domain"]: entry["vouched"] for entry in exported(signed.site, capsys)["entries"]}
    assert told == {"example.org": "targets", "example.net": "domain"}


def test_export_without_state_or_map(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["map", "export", "--format", "json", "--config", str(site.configuration)]
    state = site.map.with_name("state.sqlite")
    assert main(words) == 75
    assert capsys.readouterr().err == f"onionmx: {state} is missing: `onionmx sync` has remembered nothing yet\n"
    site.reactions.update(srv("example.org", A))
    site.domains.write_text("example.org\n")
    assert site.run("sync") == 0
    state.write_bytes(state.read_bytes()[:5000])
    assert main(words) == 75
    assert str(state) in capsys.readouterr().err


def test_entries_that_only_the_map_has(site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    site.reactions.update(srv("example.org", A))
    site.domains.write_text("example.org\n")
    assert site.run("sync") == 0
    seed = tmp_path / "seed"
    seed.write_text(f"z.example {A}\nexample.org {B}\na.example could-not-tell.onion\n")
    assert main(["map", "import", str(seed), "--config", str(site.configuration)]) == 0
    told = [(entry["domain"], entry["source"], entry["trust"]) for entry in exported(site, capsys)["entries"]]
    assert told == [("a.example", "srv", None), ("example.org", "map", None), ("z.example", "map", None)]


@pytest.mark.parametrize("line", ['"domains" = "/etc/signers"', '"/list" = "signers"', '"/list" = ""'])
def test_signers_are_files_from_the_root(site: Site, capsys: pytest.CaptureFixture[str], line: str) -> None:
    site.set("sync.signers", line)
    assert site.run("sync") == 78
    assert "is not the path of a file from the root" in capsys.readouterr().err
