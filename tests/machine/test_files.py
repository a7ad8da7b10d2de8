"""deploy/nspawn: the files say the same as onionmx and as each other."""

import re
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from onionmx.config import OnionSection
from onionmx.machine import places
from tests.e2e.programs import find_program
from tests.serve.test_units import DEPLOY, analyze

pytestmark = pytest.mark.source
NSPAWN = DEPLOY / "nspawn"
UNITS = ("onionmx-tor.service", "onionmx-tor-mta.service", "onionmx-tor-mta.socket")
EXPOSURE = 1.0


def values(name: str, option: str) -> list[str]:
    text = (NSPAWN / name).read_text().replace("\\\n", " ")
    return re.findall(f"^{option}[= ](.*)$", text, re.MULTILINE)


def test_systemd_finds_no_mistake(tmp_path: Path) -> None:
    for name in UNITS:
        # Programs and manuals that are not on every machine that runs tests.
        text = re.sub(
            "=/usr/bin/systemd-nspawn|=/lib/systemd/systemd-socket-proxyd", "=/bin/true", (NSPAWN / name).read_text()
        )
        (tmp_path / name).write_text(re.sub("^Documentation=.*", "", text, flags=re.MULTILINE))
    command: list[str | Path] = [find_program("systemd-analyze"), "verify", *(tmp_path / name for name in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not [line for line in (done.stdout + done.stderr).splitlines() if "onionmx" in line]


def test_what_speaks_to_the_mta_is_tight() -> None:
    said = analyze("security", "--offline=true", NSPAWN / "onionmx-tor-mta.service")
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert exposure
    assert float(exposure[1]) <= EXPOSURE


def test_it_reaches_the_mtas_port_and_nothing_else() -> None:
    host, _, _ = OnionSection().forward.partition(":")
    assert values("onionmx-tor-mta.service", "ExecStart")[0].endswith(f" {OnionSection().forward}")
    assert values("onionmx-tor-mta.service", "IPAddressAllow") == [host]
    assert values("onionmx-tor-mta.service", "IPAddressDeny") == ["any"]


def test_the_confinement() -> None:
    text = (NSPAWN / "onionmx-tor.nspawn").read_text()
    parser = ConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    exec_ = parser["Exec"]
    assert (exec_["DropCapability"], exec_["NoNewPrivileges"], exec_["Boot"]) == ("all", "yes", "no")
    first, count = map(int, exec_["PrivateUsers"].split(":"))
    assert first + places.USER_IN_MACHINE == places.USER
    assert count == 65536
    assert (parser["Files"]["ReadOnly"], parser["Network"]["Private"]) == ("yes", "yes")
    assert set(values("onionmx-tor.nspawn", "Bind")) == {str(places.STATE), str(places.RUNTIME)}
    assert set(values("onionmx-tor.nspawn", "BindReadOnly")) == {str(places.MTA), str(places.SETTINGS)}


def test_all_name_the_same_places() -> None:
    start = values("onionmx-tor.service", "ExecStart")[0]
    assert f"--machine={places.MACHINE} " in start
    assert f"--directory={places.ROOTS}/current " in start
    for option in ("MemoryMax", "TasksMax"):
        assert values("onionmx-tor.service", option), option
    assert f"-o {places.USER} -g {places.USER} {places.RUNTIME}" in " ".join(
        values("onionmx-tor.service", "ExecStartPre")
    )
    assert values("torrc", "DataDirectory") == [str(places.STATE)]
    assert values("torrc", "ControlSocket")[0].startswith(f"{places.CONTROL.control} ")
    (listening,) = values("onionmx-tor-mta.socket", "ListenStream")
    assert Path(listening).parent == places.MTA
    assert values("torrc", "HiddenServicePort") == [f"25 unix:{listening}"]


def test_tor_takes_torrc(tmp_path: Path) -> None:
    text = (NSPAWN / "torrc").read_text()
    for path in (places.STATE, places.RUNTIME):
        (tmp_path / path.parent.name).mkdir(mode=0o700)
        text = text.replace(str(path), str(tmp_path / path.parent.name))
    (tmp_path / "torrc").write_text(text)
    command: list[str | Path] = [
        find_program("tor"),
        "--verify-config",
        "-f",
        tmp_path / "torrc",
        "--defaults-torrc",
        tmp_path / "none",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_shell_takes_the_script_of_the_network() -> None:
    script = NSPAWN / "network"
    subprocess.run(["sh", "-n", script], check=True)
    done = subprocess.run(["sh", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (64, "")
    assert "usage: " in done.stderr


def test_what_throws_the_rules_away_is_followed_by_them() -> None:
    again = "/bin/sh /etc/onionmx-tor/network reload"
    for option in ("ExecStartPost", "ExecReload"):
        assert values("nftables.conf", option) == [f"-{again}"]
    assert values("onionmx-tor.service", "ExecReload")[0] == f"{again} $MAINPID"


def test_the_rules_know_the_address_of_the_machine() -> None:
    addresses = re.search(r"^host=(\S+) machine=(\S+) ", (NSPAWN / "network").read_text(), re.MULTILINE)
    assert addresses
    rules = (NSPAWN / "onionmx-tor.nft").read_text()
    assert f"ip saddr != {addresses[2]} " in rules
    assert f"ip saddr {addresses[2]} " in rules
    assert "169.254.0.0/16" in rules
