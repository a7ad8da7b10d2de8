"""What the kernel shows of processes; real ones, in namespaces of their own."""

import os
import subprocess
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.doctor.isolation.process import (
    NAMESPACES,
    Process,
    Status,
    look_at_processes,
    names_of,
    parse_cgroup,
    parse_status,
    read_process,
)
from tests.e2e.daemon import wait_until
from tests.net.stranger import as_stranger, user_namespace

from .running import NAMESPACES as UNSHARE
from .running import NO_NEW_PRIVILEGES, OWN_USERS

STATUS = """\
Name:\ttor
Uid:\t107\t107\t107\t107
NSpid:\t4711\t1
CapInh:\t0000000000000000
CapPrm:\t0000000000000400
CapEff:\t0000000000000000
CapBnd:\t00000000000004c4
CapAmb:\t0000000000000000
NoNewPrivs:\t1
"""
HYBRID = "9:name=systemd:/system.slice/onionmx-relay.service\n8:pids:/x.service\n0::/\n"


def started(before: tuple[str, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*before, "sleep", "600"], start_new_session=True)


def sleeping(process: subprocess.Popen[bytes]) -> Process:
    """The sleep behind the programs that start it: it is itself, or its only child, or that one's."""
    pid = process.pid

    def found() -> bool:
        nonlocal pid
        with suppress(OSError, IndexError):
            while (seen := read_process(pid)) is not None and seen.status.name != "sleep":
                with open(f"/proc/{pid}/task/{pid}/children") as children:  # noqa: PTH123 -- of the kernel
                    pid = int(children.read().split()[0])
            return seen is not None
        pid = process.pid
        return False

    wait_until(found, "sleep")
    seen = read_process(pid)
    assert seen is not None
    return seen


def test_this_process() -> None:
    seen = look_at_processes()
    assert seen.own.pid == os.getpid()
    assert seen.own in [process for process in seen.all if process.pid == os.getpid()]
    assert os.geteuid() in seen.own.status.users
    assert set(seen.own.namespaces) == set(NAMESPACES)
    assert not any(seen.own.is_apart(seen.own, kind) for kind in NAMESPACES)
    assert seen.own.status.depth == 1


@user_namespace
@pytest.mark.parametrize("before", [NO_NEW_PRIVILEGES, (*UNSHARE, *NO_NEW_PRIVILEGES, *OWN_USERS)])
def test_namespaces(before: tuple[str, ...]) -> None:
    process = started(before)
    try:
        seen = sleeping(process)
        own = look_at_processes().own
        is_apart = before is not NO_NEW_PRIVILEGES
        assert {kind: seen.is_apart(own, kind) for kind in NAMESPACES} == dict.fromkeys(NAMESPACES, is_apart)
        assert seen.status.no_new_privileges
        assert seen.status.users == {65534}
        assert not seen.status.capabilities
        with as_stranger():  # PIDs and users are for all to see
            seen_by_another = read_process(seen.pid)
            assert seen_by_another is not None
            told = [seen_by_another.is_apart(own, kind) for kind in ("pid", "net", "mnt")]
            assert told == [is_apart, None, None]
            assert seen_by_another.is_apart(own, "user") is (True if is_apart else None)
    finally:
        os.killpg(process.pid, 9)
        process.wait()
    assert read_process(process.pid) is None


def test_status() -> None:
    assert parse_status(STATUS) == Status("tor", frozenset({107}), 1 << 10, no_new_privileges=True, depth=2)
    assert names_of(1 << 10 | 1 << 21 | 1 << 60) == "CAP_NET_BIND_SERVICE, CAP_SYS_ADMIN, CAP_60"
    assert names_of(0) == ""
    for key in ("Uid", "CapEff", "NoNewPrivs"):
        with pytest.raises(ValueError, match=key):
            parse_status(STATUS.replace(f"{key}:", "X:"))


@pytest.mark.parametrize(
    ("cgroup", "unit", "service"),
    [
        ("0::/system.slice/system-tor.slice/tor@default.service\n", "tor@default.service", "tor@default.service"),
        (HYBRID, "onionmx-relay.service", "onionmx-relay.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", "session-1.scope", ""),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n", "x.service", ""),
        ("0::/machine.slice/onionmx-tor.service/payload\n", "onionmx-tor.service", "onionmx-tor.service"),
        ("0::/\n", "", ""),
        ("", "", ""),
    ],
)
def test_unit(cgroup: str, unit: str, service: str) -> None:
    own = look_at_processes().own
    process = Process(1, own.status, (), parse_cgroup(cgroup), own.uid_map, {})
    assert (process.unit, process.service) == (unit, service)


@given(st.text(st.sampled_from("0:/=name\n systemd.service,x")) | st.text())
def test_any_text_is_a_control_group(text: str) -> None:
    assert isinstance(parse_cgroup(text), str)


@given(st.lists(st.sampled_from(STATUS.splitlines()) | st.text(max_size=20)).map("\n".join))
def test_any_text_is_a_status_or_none(text: str) -> None:
    try:
        status = parse_status(text)
    except ValueError:
        return
    assert status.users
