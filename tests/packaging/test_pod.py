"""deploy/podman/: the containers are tight, see what is theirs alone, and the script for old podman says the same."""

import re
import subprocess
from pathlib import Path

import pytest

from onionmx.config import Configuration
from tests.e2e.programs import find_program

PODMAN = Path(__file__).parents[2] / "deploy/podman"
SCRIPT = PODMAN / "without-quadlet/onionmx-pod"
CONTAINERS = ("tor", "relay", "serve", "sync")
_ONLY_FOR = {
    "onionmx-tor": {"tor"},
    "/run/onionmx-mta": {"tor"},
    "onionmx-relay": {"relay"},
    "onionmx-serve": {"serve"},
}
_WRITERS = {"onionmx-map": {"sync"}, "onionmx-socks": {"tor"}}


def keys(name: str, key: str) -> list[str]:
    text = (PODMAN / f"onionmx-{name}.container").read_text()
    return re.findall(f"^{key}=(.*)$", text, re.MULTILINE)


def volumes(name: str) -> list[list[str]]:
    return [volume.replace(".volume", "").split(":") for volume in keys(name, "Volume")]


@pytest.mark.parametrize("name", CONTAINERS)
def test_each_is_tight(name: str) -> None:
    expected = {
        "User": "65534",
        "Group": "65534",
        "ReadOnly": "true",
        "NoNewPrivileges": "true",
        "DropCapability": "all",
        "Pull": "never",
        "Pod": "onionmx.pod",
    }
    assert {key: keys(name, key) for key in expected} == {key: [value] for key, value in expected.items()}
    for key in ("AddCapability", "AddDevice", "PublishPort", "Network", "SecurityLabelDisable", "Unmask"):
        assert not keys(name, key)
    assert bool(keys(name, "HealthCmd")) == (name != "sync")


@pytest.mark.parametrize("name", CONTAINERS)
def test_each_sees_what_is_its_own(name: str) -> None:
    for source, place, *options in volumes(name):
        for whose, who in _ONLY_FOR.items():
            assert whose not in {source, place} or name in who
        if source.startswith("onionmx-") and name not in _WRITERS.get(source, {name}):
            assert options == ["ro"], source
        assert source.startswith("onionmx-") or options == ["ro"], source


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_script_says_the_same(name: str, tmp_path: Path) -> None:
    podman = tmp_path / "podman"
    podman.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    podman.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": "/home/user", "XDG_RUNTIME_DIR": "/run/user/1"}
    done = subprocess.run([SCRIPT, "run", name], env=environment, capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()
    mounted = [words[index + 1].split(":") for index, word in enumerate(words) if word == "-v"]
    expected = [
        [source.replace("%h", "/home/user").replace("%t", "/run/user/1"), *rest] for source, *rest in volumes(name)
    ]
    assert sorted(mounted) == sorted(expected)
    image = words.index(keys(name, "Image")[0])
    assert " ".join(words[image + 1 :]) == keys(name, "Exec")[0]
    for option in ("--read-only", "--security-opt=no-new-privileges", *keys(name, "PodmanArgs")):
        assert option in words
    for option, value in {"--cap-drop": "all", "--user": "65534:65534", "--pull": "never"}.items():
        assert words[words.index(option) + 1] == value
    if command := keys(name, "HealthCmd"):
        assert words[words.index("--health-cmd") + 1] == command[0]


@pytest.mark.parametrize("words", [[], ["run"], ["run", "watch"], ["run", "tor", "x"], ["stop"]])
def test_what_the_script_does_not_know_is_refused(words: list[str]) -> None:
    done = subprocess.run(
        [SCRIPT, *words], env={"PATH": "/bin", "HOME": "/", "XDG_RUNTIME_DIR": "/"}, capture_output=True, check=False
    )
    assert done.returncode == 64
    assert done.stderr.startswith(b"usage: ")


def test_systemd_finds_no_mistake_in_the_units(tmp_path: Path) -> None:
    units = [*PODMAN.glob("*.service"), *PODMAN.glob("*.socket"), *PODMAN.glob("without-quadlet/*.service")]
    units += [PODMAN.parent / f"onionmx-{name}.socket" for name in ("relay", "serve")]
    for unit in units:
        # podman is not on every machine that runs tests.
        text = re.sub(
            "^(Exec[A-Za-z]*=-?)(/usr/bin/podman|%h/.local/bin/onionmx-pod)",
            r"\1/bin/true",
            unit.read_text(),
            flags=re.MULTILINE,
        )
        (tmp_path / unit.name).write_text(text)
    command = [find_program("systemd-analyze"), "verify", "--user", *(tmp_path / unit.name for unit in units)]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, env={"XDG_RUNTIME_DIR": str(tmp_path)}
    )
    assert not [line for line in (done.stdout + done.stderr).splitlines() if "onionmx" in line]


def test_the_configuration_is_one() -> None:
    configuration = Configuration.load(PODMAN / "onionmx.toml")
    assert configuration.tor.user == "65534"
