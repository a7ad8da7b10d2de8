"""A host on which `onionmx sync` runs, as the command that cron starts."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onionmx.mapfile.cdb import MapReader
from onionmx.onion import Endpoint

PATIENCE = 300.0
"""Seconds for one command."""
ONIONMX = Path(sys.executable).with_name("onionmx")
LATER = """\
import sys, time
ahead, real = float(sys.argv.pop(1)), time.time
time.time = lambda: real() + ahead
from onionmx.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""The same command on a host whose clock is ahead."""


class SyncHost:
    """A configuration, a map, and the state of a host.

    Args:
        folder: a new folder for all of it.
        resolver: address of the resolver, which it believes.
        sync: more lines of the table [sync].
        tables: further tables.
    """

    def __init__(self, folder: Path, resolver: tuple[str, int], sync: str = "", tables: str = "") -> None:
        folder.mkdir()
        self.folder = folder
        self.map = folder / "onionmx.cdb"
        self.list = folder / "domains"
        self.pins = folder / "pins"
        self.ahead = 0.0
        self._configuration = folder / "onionmx.toml"
        for file in (self.pins, folder / "trust"):
            file.touch()
        self._configuration.write_text(
            f'[map]\npath = "{self.map}"\n[dns]\nnameservers = ["{resolver[0]}:{resolver[1]}"]\n'
            "timeout = 60\nretry_delay = 0\n"
            f'[sync]\ndomains = ["{self.list}"]\npins = "{self.pins}"\ntrust_of = "{folder}/trust"\n{sync}\n{tables}\n'
        )

    def name_domains(self, *domains: str) -> None:
        """Make these its list."""
        self.list.write_text("".join(f"{domain}\n" for domain in domains))

    def pass_time(self, seconds: float) -> None:
        """Set its clock ahead."""
        self.ahead += seconds

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command, and do not wait for its end."""
        return subprocess.Popen(
            self._command(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self._environment
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        command = self._command(words)
        return subprocess.run(
            command, capture_output=True, text=True, env=self._environment, timeout=PATIENCE, check=False
        )

    def output(self, *words: str) -> str:
        """What a command prints that ends well and has nothing to complain of."""
        result = self.run(*words)
        assert (result.returncode, result.stderr) == (0, ""), (words, result)
        return result.stdout

    def told(self, *words: str) -> Any:  # noqa: ANN401 -- JSON
        """The same as values."""
        return json.loads(self.output(*words, "--json"))

    @property
    def entries(self) -> dict[str, tuple[Endpoint, ...]]:
        """What is in the map."""
        with MapReader(self.map) as reader:
            return dict(reader.entries())

    @property
    def _environment(self) -> dict[str, str]:
        return {"ONIONMX_CONFIG": str(self._configuration)}

    def _command(self, words: Sequence[str]) -> list[str]:
        if not self.ahead:
            return [str(ONIONMX), *words]
        return [sys.executable, "-c", LATER, str(self.ahead), *words]
