"""The set-up of docs/local-users.md: the blocks are taken from it, and tor and onionmx take them."""

import re
import subprocess
import tomllib
from pathlib import Path

import msgspec

from onionmx.config import Configuration
from onionmx.doctor.checks.owners import places
from tests.e2e.conftest import skip_without
from tests.e2e.programs import find_program

DOCUMENT = (Path(__file__).parents[1] / "docs/local-users.md").read_text()


def block(lead: str) -> str:
    """The indented lines below a line that begins with these words."""
    match = re.search(rf"^{re.escape(lead)}(?:.*\n)?.*:\n\n((?:    .*\n)+)", DOCUMENT, re.MULTILINE)
    assert match, lead
    return re.sub("^    ", "", match[1], flags=re.MULTILINE)


def test_tor_takes_its_lines(tmp_path: Path) -> None:
    skip_without("tor")
    torrc = tmp_path / "torrc"
    torrc.write_text(block("In `/etc/tor/torrc`") + f"DataDirectory {tmp_path}/data\n")
    command: list[str | Path] = [
        find_program("tor"),
        "--verify-config",
        "-f",
        torrc,
        "--defaults-torrc",
        tmp_path / "none",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_local_user_can_take_a_port_of_tor() -> None:
    settings = tomllib.loads(block("In `/etc/onionmx/onionmx.toml`"))
    tor = [place for place in places(msgspec.convert(settings, Configuration)) if place.setting.startswith("tor.")]
    exim = block("In `/etc/exim4/conf.d/main/000_localmacros`")
    torrc = block("In `/etc/tor/torrc`")
    for place in tor:
        assert place.where.startswith("unix:/run/tor/") or int(place.where.rpartition(":")[2]) < 1024
        assert place.where in torrc or place.where == "unix:/run/tor/control"
    for port in re.findall(r"(?:port=|:)(\d+)$", exim, re.MULTILINE):
        assert int(port) < 1024
        assert f"127.0.0.1:{port}" in torrc
