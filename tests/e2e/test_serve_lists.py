"""The list of domains as cron fetches it, with curl from `onionmx serve`: docs/lookups.md, word by word."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.documents import replace, section, steps
from tests.mapfile.maps import A, B

from .programs import PROJECT
from .serve_site import Serve

DOCUMENT = PROJECT / "docs/lookups.md"
HEADINGS = ("HTTP", "Domains, for programs that ask by HTTP")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    serve = Serve(tmp_path / "serve")
    serve.publish({"a.example": A, "b.example": B})
    with serve:
        yield serve


class Cron:
    """What runs the commands of the document, in a folder of its own.

    Attributes:
        folder: where the list comes to be.
    """

    def __init__(self, folder: Path, serve: Serve) -> None:
        self.folder = folder
        folder.mkdir()
        (script,) = (step.text for step in steps(section(DOCUMENT.read_text(), *HEADINGS)) if "curl" in step.text)
        host, port = serve.http
        self._script = replace(script, {"127.0.0.1:10030": f"{host}:{port}", "/var/lib/mta-domains": str(folder)})

    def run(self) -> bool:
        """Whether it went well."""
        return subprocess.run(["sh", "-c", self._script], capture_output=True, check=False).returncode == 0

    def domains(self) -> list[str]:
        """The list."""
        return (self.folder / "domains").read_text().splitlines()

    def version(self) -> int:
        """Another one when the list was written anew."""
        return (self.folder / "domains").stat().st_ino


def test_list_for_cron(serve: Serve, tmp_path: Path) -> None:
    cron = Cron(tmp_path / "cron", serve)
    assert cron.run()
    assert cron.domains() == ["a.example", "b.example"]
    first = cron.version()
    assert cron.run()
    assert cron.version() == first, "304: nothing is written"
    serve.publish({"b.example": B, "c.example": A})
    assert cron.run()
    assert cron.domains() == ["b.example", "c.example"], "at once"
    assert cron.version() != first


def test_failures_leave_the_list(serve: Serve, tmp_path: Path) -> None:
    cron = Cron(tmp_path / "cron", serve)
    assert cron.run()
    serve.map.write_bytes(serve.map.read_bytes()[:-1])
    assert not cron.run(), "damaged"
    assert cron.domains() == ["a.example", "b.example"]
    serve.map.unlink()
    assert not cron.run(), "gone"
    serve.publish({"c.example": A})
    assert cron.run()
    assert cron.domains() == ["c.example"]
    serve.publish({})
    assert cron.run()
    assert cron.domains() == ["c.example"], "an empty list is not taken"


def test_stopped_daemon_leaves_the_list(serve: Serve, tmp_path: Path) -> None:
    cron = Cron(tmp_path / "cron", serve)
    assert cron.run()
    serve.daemon.stop()
    assert not cron.run()
    assert cron.domains() == ["a.example", "b.example"]
