"""Signed lists as docs/provenance.md has them: real ssh-keygen, real name servers, and the commands that cron runs."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.mapfile.maps import A, B
from tests.sync.lists.signers import Key

from .conftest import StartNameServers
from .name_servers import NameServers, Zone
from .postfix import documented
from .programs import PROJECT
from .sync_host import SyncHost

DOCUMENT = (PROJECT / "docs" / "provenance.md").read_text()
PREFIX = "_onion-mx._tcp"


@pytest.fixture(scope="module")
def servers(name_servers: StartNameServers) -> NameServers:
    records = f"{PREFIX}.first SRV 0 0 25 {A}.\n{PREFIX}.second SRV 0 0 25 {B}."
    return name_servers({"signers.test": Zone(records, signed=True), "signers-plain.test": Zone(records)})


class Publisher:
    """The publisher of the lists, as the document has it, and the host that takes them."""

    def __init__(self, folder: Path, servers: NameServers) -> None:
        self.lists = folder / "lists"
        self.lists.mkdir()
        self.list, self.yml = self.lists / "domains", self.lists / "map.yml"
        self.key = Key(folder, "lists@example.net")
        self.signers = folder / "signers"
        values = {
            "ssh-ed25519 AAAA...": self.key.path.with_suffix(".key.pub").read_text().rsplit(" ", 1)[0],
            "/var/lib/lists": str(self.lists),
            "/etc/onionmx/signers": str(self.signers),
        }
        blocks = documented(DOCUMENT, values)
        self.signers.write_text(blocks[str(self.signers)])
        sync, signers = blocks["/etc/onionmx/onionmx.toml"].split("\n\n", 1)
        self.host = SyncHost(folder / "host", servers.resolver, tables=signers)
        configuration = folder / "host" / "onionmx.toml"
        [named] = re.findall(r"^domains = .*", sync, re.MULTILINE)
        text = re.sub(r"^domains = .*", named, configuration.read_text(), flags=re.MULTILINE)
        configuration.write_text(text)

    def publish(self, text: str, file: Path | None = None) -> None:
        path = file or self.list
        path.write_text(text)
        [command] = re.findall(r"^    (ssh-keygen .*) domains$", DOCUMENT, re.MULTILINE)
        words = shlex.split(command.replace("~/.ssh/id_ed25519", str(self.key.path)))
        Path(f"{path}.sig").unlink(missing_ok=True)
        subprocess.run([*words, path.name], cwd=self.lists, check=True, capture_output=True)

    def exported(self) -> dict[str, Any]:
        told = self.host.output("map", "export", "--format", "json")
        assert self.host.output("map", "export", "--format", "json") == told
        return {entry["domain"]: entry for entry in json.loads(told)["entries"]}

    def refusal(self, *words: str, code: int = 78) -> str:
        """What a command says that changes nothing."""
        before = {path: path.read_bytes() for path in self.host.folder.iterdir() if path.suffix != ".lock"}
        result = self.host.run(*words)
        assert (result.returncode, result.stdout) == (code, ""), result
        assert {path: path.read_bytes() for path in before} == before
        assert result.stderr.count("\n") == 1
        return result.stderr


@pytest.fixture
def publisher(tmp_path: Path, servers: NameServers) -> Publisher:
    publisher = Publisher(tmp_path, servers)
    publisher.publish("# serial: 1\nfirst.signers.test\nsecond.signers-plain.test\n")
    assert "2 added" in publisher.host.output("sync")
    return publisher


def test_signed_list(publisher: Publisher) -> None:
    found = publisher.exported()
    assert {domain: entry["trust"] for domain, entry in found.items()} == {
        "first.signers.test": "dnssec",
        "second.signers-plain.test": "unsigned",
    }
    assert {(entry["signer"], entry["vouched"]) for entry in found.values()} == {("lists@example.net", "domain")}
    shown = set(re.findall(r'^ {10}"(\w+)": ', DOCUMENT, re.MULTILINE))
    assert shown == found["first.signers.test"].keys()


def test_list_of_somebody_else_changes_nothing(publisher: Publisher, tmp_path: Path) -> None:
    mallory = Key(tmp_path, "mallory@example.net")
    publisher.list.write_text("# serial: 2\nfirst.signers.test\n")
    assert f"{publisher.list}.sig is no signature for {publisher.list}" in publisher.refusal("sync")
    mallory.sign(publisher.list)
    assert f"{publisher.list} is not signed by one of those in {publisher.signers}" in publisher.refusal("sync")
    Path(f"{publisher.list}.sig").unlink()
    assert f"{publisher.list} must be signed" in publisher.refusal("sync", "--quiet")
    assert set(publisher.host.entries) == {"first.signers.test", "second.signers-plain.test"}
    # Nor can the route be brought about in another way.
    publisher.yml.write_text(f"{B}:\n- first.signers.test\n")
    words = ("map", "import", "--format", "map.yml", str(publisher.yml))
    assert f"{publisher.yml} must be signed" in publisher.refusal(*words)
    assert f"{publisher.yml} must be signed" in publisher.refusal("domains", "--from-map-yml", str(publisher.yml))


def test_older_list_changes_nothing(publisher: Publisher) -> None:
    old = publisher.list.read_bytes(), Path(f"{publisher.list}.sig").read_bytes()
    publisher.publish("# serial: 2\nfirst.signers.test\n")
    assert "1 removed" in publisher.host.output("sync")
    publisher.list.write_bytes(old[0])
    Path(f"{publisher.list}.sig").write_bytes(old[1])
    message = publisher.refusal("sync")
    assert "has serial 1, and had 2 before: an older list" in message
    assert set(publisher.host.entries) == {"first.signers.test"}
    Path(message.rpartition("remove ")[2].strip()).unlink()
    publisher.host.output("sync")
    assert set(publisher.host.entries) == {"first.signers.test", "second.signers-plain.test"}


def test_signed_map_yml(publisher: Publisher) -> None:
    publisher.publish(f"# serial: 8\n{B}:\n- first.signers.test\n- third.signers.test\n", publisher.yml)
    words = ("map", "import", "--format", "map.yml", str(publisher.yml))
    publisher.host.output(*words)
    found = publisher.exported()
    assert {(entry["source"], entry["signer"], entry["vouched"]) for entry in found.values()} == {
        ("map", "lists@example.net", "targets")
    }
    publisher.publish(f"# serial: 7\n{A}:\n- first.signers.test\n", publisher.yml)
    assert "has serial 7, and had 8 before" in publisher.refusal(*words)


def test_export_without_state(publisher: Publisher) -> None:
    state = publisher.host.map.with_name("state.sqlite")
    state.unlink()
    assert f"{state} is missing" in publisher.refusal("map", "export", "--format", "json", code=75)
