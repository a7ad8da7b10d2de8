"""A whole run of `onionmx sync` in a process of its own, from its start to its end.

`python -m tests.bench.bulk_sync FILE ARGUMENT...` runs it, and writes the most memory it took to the file.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from onionmx.cli import main
from tests.bench.relay_control import LOOPBACK
from tests.e2e.programs import PROJECT


@dataclass(frozen=True)
class SyncRun:
    """What a run did.

    Attributes:
        seconds: from the start of the process to its end.
        memory: its largest resident memory, in bytes.
        asked: domains that were asked in DNS.
        entries: of the map.
    """

    seconds: float
    memory: int
    asked: int
    entries: int


class SyncHost:
    """An installation of sync: a list, a state and a map in a folder; without proofs.

    Args:
        folder: that exists.
        port: of the name server on loopback that is asked.
        domains: of the list.
    """

    def __init__(self, folder: Path, port: int, domains: Iterable[str]) -> None:
        self.state = folder / "state.sqlite"
        self._list = folder / "domains"
        self._list.write_text("".join(f"{domain}\n" for domain in domains))
        self._memory = folder / "memory"
        self._settings = folder / "onionmx.toml"
        lines = [f'dns.nameservers = ["{LOOPBACK}:{port}"]', 'authenticate.mode = "off"']
        lines += [f'map.path = "{folder}/map.cdb"', f'sync.pins = "{folder}/pins"', f'sync.trust_of = "{folder}/trust"']
        self._settings.write_text("\n".join([*lines, ""]))
        for name in ("pins", "trust"):
            (folder / name).touch()

    def run(self, core: int | None = None) -> SyncRun:
        """Run it, as cron does.

        Args:
            core: for the process; any where there is none.
        """
        command = ["taskset", "--cpu-list", str(core)] if core is not None else []
        command += [sys.executable, "-m", "tests.bench.bulk_sync", str(self._memory)]
        command += ["sync", "--json", "--config", str(self._settings), str(self._list)]
        begin = time.perf_counter()
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=PROJECT).stdout
        seconds = time.perf_counter() - begin
        summary = json.loads(output)
        return SyncRun(seconds, int(self._memory.read_text()), summary["asked"], summary["entries"])


def most_memory() -> int:
    """The largest resident memory of this process so far, in bytes."""
    # Not getrusage(2): its figure begins with that of the process that started this one.
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


def _main(memory: str, *arguments: str) -> int:
    code = main(arguments)
    Path(memory).write_text(str(most_memory()))
    return code


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
