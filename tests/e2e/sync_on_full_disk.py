"""Runs `onionmx sync` in a small file system of its own, with more and more room, until all fits.

Run it `with_own_mounts`: the file system ends with the process.
"""

from pathlib import Path

from tests.mapfile.maps import A, B
from tests.small_disk import small_disk

from .sync_host import SyncHost

FEW, MANY = 20, 2000
STEP = 128 * 1024  # bytes
ROOM = 4 * 1024 * 1024


def main(folder: Path) -> None:
    """Do it."""
    with small_disk(folder, ROOM):
        fill_step_by_step(folder)


def fill_step_by_step(folder: Path) -> None:
    """Fill it, then make room until all fits."""
    host = SyncHost(folder / "host", ("127.0.0.1", 1))
    name(host, FEW, A)
    host.output("sync")
    before = host.map.read_bytes()
    name(host, MANY, B)
    ballast = folder / "ballast"
    fill(ballast)
    failures = 0
    while (result := host.run("sync")).returncode:
        failures += 1
        assert result.returncode == 75, result
        assert result.stderr.startswith("onionmx: "), result
        assert "no space left" in result.stderr.lower(), result
        assert result.stderr.count("\n") == 1, result
        assert host.map.read_bytes() == before
        with ballast.open("r+b") as file:
            file.truncate(ballast.stat().st_size - STEP)
    assert len(host.entries) == MANY
    assert set(host.entries.values()) == {((B, 25),)}
    print("as it should be", failures)  # noqa: T201 -- what the test reads


def name(host: SyncHost, count: int, onion: str) -> None:
    """Pins, so that nobody needs to be asked."""
    domains = [f"{number}.example" for number in range(count)]
    host.name_domains(*domains)
    host.pins.write_text("".join(f"{domain} {onion}\n" for domain in domains))


def fill(ballast: Path) -> None:
    """Leave no room."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(STEP))
        except OSError:
            return
