"""Containers, by what they leave in files and control groups."""

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.doctor.isolation.container import container, engines, machine_of, mounts_of, parse_mounts

READ_ONLY = [
    "1 0 0:1 / / ro,relatime - overlay overlay rw",
    "2 1 0:2 / /proc rw - proc proc rw",
    "3 1 0:3 /docker.sock /sock rw - tmpfs tmpfs rw",
    "4 1 0:3 /x /run/podman/podman.sock rw - tmpfs tmpfs rw",
    "junk",
]


@pytest.mark.parametrize(
    ("path", "text", "made_by"),
    [
        ("run/.containerenv", 'engine="podman-4.3.1"\n', "podman"),
        (".dockerenv", "", "docker"),
        ("run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
        ("run/host/container-manager", "systemd-nspawn", "systemd-nspawn"),
        ("run/other", "", ""),
    ],
)
def test_files(tmp_path: Path, path: str, text: str, made_by: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    assert container({}, tmp_path) == made_by


def test_environment(tmp_path: Path) -> None:
    assert container({"container": "oci"}, tmp_path) == "oci"
    assert container({"KUBERNETES_SERVICE_HOST": "192.0.2.1"}, tmp_path) == "kubernetes"


@pytest.mark.parametrize(
    ("cgroup", "machine"),
    [
        ("/machine.slice/onionmx-tor.service/payload", "machine onionmx-tor"),
        ("/machine.slice/systemd-nspawn@tor.service/payload/system.slice/x.service", "machine tor"),
        ("/machine.slice/machine-tor.scope/payload", "machine tor"),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-0a1b.scope/container", "podman"),
        ("/system.slice/docker-0a1b.scope", "docker"),
        ("/system.slice/tor@default.service", ""),
    ],
)
def test_control_groups(cgroup: str, machine: str) -> None:
    assert machine_of(cgroup) == machine


def test_mounts() -> None:
    mounts = parse_mounts(READ_ONLY)
    assert mounts.is_read_only
    assert mounts.engines == ("/sock", "/run/podman/podman.sock")
    on_top = parse_mounts([*READ_ONLY, "5 1 0:9 / / rw - tmpfs tmpfs rw"])
    assert not on_top.is_read_only
    assert mounts_of("self") is not None
    assert mounts_of(0) is None


@given(st.lists(st.text()))
def test_any_mounts(lines: list[str]) -> None:
    assert parse_mounts(lines).engines is not None


def test_sockets_of_engines(tmp_path: Path) -> None:
    assert not engines(tmp_path)
    for name in ("run/docker.sock", "run/user/1000/podman/podman.sock"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    (tmp_path / "run/podman").mkdir()
    (tmp_path / "run/podman/podman.sock").touch()
    assert engines(tmp_path) == [f"{tmp_path}/run/docker.sock", f"{tmp_path}/run/user/1000/podman/podman.sock"]
