"""Where tor is: a real one, beside this process and in namespaces of its own, and on another host."""

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from onionmx.config import TorSection
from onionmx.doctor.finding import Finding, Severity
from onionmx.doctor.isolation.daemons import Surroundings
from onionmx.doctor.isolation.process import Process, look_at_processes
from onionmx.doctor.isolation.tor import judge_tor, resolve
from onionmx.errors import TemporaryError
from tests.e2e.conftest import skip_without
from tests.e2e.daemon import free_ports
from tests.net.stranger import as_stranger, root_only, user_namespace

from .running import IS_ROOT, NAMESPACES, NO_NEW_PRIVILEGES, OWN_USERS, USER, is_documented, open_folder, tor

ELSEWHERE = "192.0.2.1"  # RFC 5737: nobody's
# The root can only be read, but for tor's own folder (mount(8)).
_READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"'
# The loopback device of a new network gets another address (netdevice(7)).
_ADDRESS = f"""
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any:
    address = struct.pack("16sHxx4s8x", b"lo", socket.AF_INET, socket.inet_aton("{ELSEWHERE}"))
    fcntl.ioctl(any, 0x8916, address)
    fcntl.ioctl(any, 0x8914, struct.pack("16sH", b"lo", 1))
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    skip_without("tor")
    with open_folder() as folder:
        yield folder


def machine(folder: Path, *network: str) -> Sequence[str]:
    """What starts a machine as docs/isolation.md has it."""
    return (*NAMESPACES, "sh", "-c", _READ_ONLY, str(folder), *network, *NO_NEW_PRIVILEGES, *OWN_USERS)


def judged(
    socks: str, *, is_booted: bool = True, made_by: str = "", process: Process | None = None, user: str = str(USER)
) -> list[Finding]:
    seen = look_at_processes()
    if process is not None:
        others = (each for each in seen.all if each.pid != process.pid)
        seen = replace(seen, all=(*others, process))
    return judge_tor("isolation", TorSection(socks=socks, user=user), Surroundings(seen, is_booted, made_by))


def severities(found: Sequence[Finding]) -> list[Severity]:
    return [one.severity for one in found]


@user_namespace
def test_machine_of_its_own(folder: Path) -> None:
    socks = f"unix:{folder}/socks/socks"
    with tor(folder, machine(folder)) as process:
        (found,) = judged(socks)
        assert found.severity is Severity.OK, found
        assert found.seen.startswith(f"own machine: tor (process {process.pid}, ")
        named = replace(process, cgroup="/machine.slice/onionmx-tor.service/payload")
        (found,) = judged(socks, process=named)
        assert " in machine onionmx-tor: " in found.seen
        assert is_documented(found)
        with as_stranger():
            (found,) = judged(socks)
        assert found.severity is Severity.NOT_CHECKED
        assert "does not see the network and mount namespace" in found.seen
        held = replace(process, status=replace(process.status, capabilities=1 << 21, no_new_privileges=False))
        found, other = judged(socks, process=held)
        assert "may get new privileges" in found.seen
        assert "has CAP_SYS_ADMIN" in other.seen


@user_namespace
def test_machine_that_shares(folder: Path) -> None:
    """The network and the users of the host, and a root that can be written."""
    with tor(folder, ("unshare", "--pid", "--fork", "--kill-child", "--mount", *NO_NEW_PRIVILEGES)):
        found = judged(f"unix:{folder}/socks/socks")
    assert severities(found) == [Severity.WARNING] * 3
    for one, words in zip(found, ("user namespace", "network namespace", "its root can be written"), strict=True):
        assert words in one.seen


@user_namespace
def test_machine_that_has_an_address(folder: Path) -> None:
    (port,) = free_ports(1)
    where = f"{ELSEWHERE}:{port}"
    with tor(folder, machine(folder, sys.executable, "-c", _ADDRESS), port=where) as process:
        (found,) = judged(where)
        assert found.severity is Severity.OK, found
        assert f"own machine: tor (process {process.pid}, " in found.seen
        with as_stranger():
            (found,) = judged(where)
        assert found.severity is Severity.NOT_CHECKED
        assert "does not see which process" in found.seen


def test_beside_this_process(folder: Path) -> None:
    (port,) = free_ports(1)
    with tor(folder, NO_NEW_PRIVILEGES, port=f"127.0.0.1:{port}") as process:
        unit = replace(process, cgroup="/system.slice/system-tor.slice/tor@default.service")
        for socks in (f"unix:{folder}/socks/socks", f"127.0.0.1:{port}"):
            (found,) = judged(socks)
            assert found.severity is Severity.WARNING
            assert found.seen.endswith("runs outside of a unit")
            (found,) = judged(socks, process=unit)
            assert found.severity is Severity.OK
            assert f"units: tor (process {process.pid}, " in found.seen
            assert " in tor@default.service: not root" in found.seen
            assert is_documented(found)
            (found,) = judged(socks, is_booted=False, made_by="podman")
            assert found.seen.startswith("pod: tor (")
            assert " in this container: not root" in found.seen
        if IS_ROOT:
            with as_stranger():
                (found,) = judged(f"127.0.0.1:{port}")
            assert found.severity is Severity.NOT_CHECKED
            assert found.fix == "run it as root"
            (found,) = judged(f"127.0.0.1:{port}", user="no-such-user")
            assert found.severity is Severity.NOT_CHECKED
            assert "which is not a tor of tor.user" in found.seen


@root_only
def test_run_by_root(folder: Path) -> None:
    os.chown(folder / "socks", 0, 0)
    os.chown(folder, 0, 0)
    with tor(folder, ()):
        found = judged(f"unix:{folder}/socks/socks")
    assert severities(found) == [Severity.PROBLEM, Severity.WARNING, Severity.WARNING]
    assert found[0].seen.endswith(" runs as root")
    assert found[0].fix.startswith(f"torrc: User {USER}\n")


def test_separate_host_over_wireguard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onionmx.doctor.isolation.tor.is_wireguard", lambda _: True)  # not every kernel has it
    (found,) = judged(f"{ELSEWHERE}:9050")
    assert found.severity is Severity.OK
    assert found.seen.endswith(", which is WireGuard")


def test_separate_host() -> None:
    (found,) = judged(f"{ELSEWHERE}:9050")
    assert found.severity is Severity.WARNING
    assert found.seen.startswith(f"separate host: tor is at {ELSEWHERE}:9050: mail goes there in the clear")
    assert is_documented(found)
    (found,) = judged(f"{ELSEWHERE}:9050", is_booted=False, made_by="podman")
    assert found.severity is Severity.NOT_CHECKED
    assert "another container, or another host" in found.seen


def test_another_container_of_a_pod(tmp_path: Path) -> None:
    """It listens in a namespace whose processes are not seen here: as if it had no number."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/socks")
        server.listen()
        seen = look_at_processes()
        others = replace(seen, all=tuple(each for each in seen.all if each.pid != os.getpid()))
        settings = TorSection(socks=f"unix:{tmp_path}/socks")
        (found,) = judge_tor("isolation", settings, Surroundings(others, is_booted=False, made_by="podman"))
        assert found.severity is Severity.OK
        assert found.seen.startswith("pod: tor is in another container: ")
        for unknown in (
            Surroundings(replace(others, is_complete=False), is_booted=False, made_by="podman"),
            Surroundings(others, is_booted=True, made_by=""),
        ):
            (found,) = judge_tor("isolation", settings, unknown)
            assert found.severity is Severity.NOT_CHECKED


def test_nobody_listens(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    for socks in (f"127.0.0.1:{port}", f"unix:{tmp_path}/none"):
        (found,) = judged(socks)
        assert found.severity is Severity.NOT_CHECKED
        assert f"nothing listens at {socks}" in found.seen


def test_another_program_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (found,) = judged(f"127.0.0.1:{server.getsockname()[1]}")
    assert found.severity is Severity.NOT_CHECKED
    assert f"(process {os.getpid()}, " in found.seen
    assert "which is not a tor of tor.user" in found.seen


def test_names_of_hosts() -> None:
    addresses, port = resolve("localhost:9050")
    assert all(address.is_loopback for address in addresses)
    assert port == 9050
    assert [str(address) for address in resolve("[2001:db8::1]:1")[0]] == ["2001:db8::1"]
    with pytest.raises(TemporaryError, match="no-such-host"):
        resolve("no-such-host.invalid:9050")
