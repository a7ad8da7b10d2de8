"""Daemons of onionmx: real ones, started by hand, as root, with a capability, in a container."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.doctor.finding import Severity
from onionmx.doctor.isolation.daemons import DAEMONS, Surroundings, daemon_of, judge_daemons
from onionmx.doctor.isolation.process import Seen, look_at_processes
from tests.e2e.daemon import Daemon
from tests.e2e.relay import ONIONMX
from tests.net.stranger import root_only, user_namespace

from .running import AS_USER, NAMESPACES, NO_NEW_PRIVILEGES, OWN_USERS, is_documented, open_folder, running, started_by

WITH_A_CAPABILITY = (
    *AS_USER[:-1],
    "--clear-groups",
    "--inh-caps=+net_bind_service",
    "--ambient-caps=+net_bind_service",
)


@contextmanager
def serving(folder: Path, before: tuple[str, ...] = ()) -> Iterator[Seen]:
    """What looks like lookups that wait, behind the words of other programs; and no other process but this one.

    It is no Python: where that is in root's home, no other user can run it.
    """
    shutil.copy("/bin/sh", folder / "python3")
    program = folder / "onionmx"
    program.write_text(f"#!{folder}/python3\nread line <{folder}/nobody\n")
    program.chmod(0o755)
    os.mkfifo(folder / "nobody", 0o644)
    with running(Daemon("serve", [*before, str(program), "serve"], folder)) as daemon:
        daemon.wait_until(lambda: bool(of(daemon).all), "lookups")
        yield of(daemon)


def of(daemon: Daemon) -> Seen:
    """The daemons among the processes that one has started."""
    seen = look_at_processes()
    return replace(seen, all=tuple(one for one in seen.all if daemon_of(one.words) and started_by(one, daemon.pid)))


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@root_only
def test_started_by_root(folder: Path) -> None:
    settings = folder / "onionmx.toml"
    listen = ("tcp_table_listen", "readsocket_listen", "http_listen")
    settings.write_text(
        f'[serve]\nsocketmap_listen = ["unix:{folder}/socks/map"]\ncontrol = "{folder}/control"\ncache_path = ""\n'
        + "".join(f"{name} = []\n" for name in listen)
    )
    with Daemon("serve", [ONIONMX, "serve", "--config", settings], folder) as daemon:
        daemon.wait_until((folder / "socks/map").is_socket, "lookups")
        seen = of(daemon)
        (found,) = judge_daemons("isolation", Surroundings(seen, is_booted=True, made_by=""))[:1]
        assert found.severity is Severity.PROBLEM
        assert found.seen == f"units: onionmx serve (process {daemon.pid}) runs as root"
        assert found.fix == f"kill {daemon.pid}\nsystemctl start onionmx-serve.service"
        mapped = replace(seen, own=replace(seen.own, uid_map="0 1000 1"))
        (found,) = judge_daemons("isolation", Surroundings(mapped, is_booted=False, made_by="podman"))
        assert found.severity is Severity.WARNING
        assert found.seen.endswith("runs as root of this user namespace")


@root_only
def test_with_a_capability(folder: Path) -> None:
    with serving(folder, WITH_A_CAPABILITY) as seen:
        found = judge_daemons("isolation", Surroundings(seen, is_booted=False, made_by=""))
        assert [one.severity for one in found] == [Severity.PROBLEM, Severity.WARNING]
        assert found[0].seen.endswith(" has CAP_NET_BIND_SERVICE")
        assert found[1].seen.endswith(" may get new privileges")


def test_started_by_hand_by_a_user(folder: Path) -> None:
    with serving(folder, NO_NEW_PRIVILEGES) as seen:
        (found,) = judge_daemons("isolation", Surroundings(seen, is_booted=True, made_by=""))
        assert found.severity is Severity.WARNING
        assert "runs outside of a unit" in found.seen
        (process,) = seen.all
        unit = replace(process, cgroup="/system.slice/onionmx-serve.service")
        (found,) = judge_daemons("isolation", Surroundings(replace(seen, all=(unit,)), is_booted=True, made_by=""))
        assert found.severity is Severity.OK
        assert " in onionmx-serve.service: user " in found.seen
        assert is_documented(found)
        process = replace(process, pid=1, cgroup="/")
        pod = Surroundings(replace(seen, all=(process,)), is_booted=False, made_by="podman")
        (found,) = judge_daemons("isolation", pod)
        assert is_documented(found)


@user_namespace
def test_in_a_container_beside(folder: Path) -> None:
    """As root of a host sees a rootless pod."""
    with serving(folder, (*NAMESPACES, *NO_NEW_PRIVILEGES, *OWN_USERS)) as seen:
        (found,) = judge_daemons("isolation", Surroundings(seen, is_booted=True, made_by=""))
        assert found.severity is Severity.OK, found
        assert found.seen.startswith("pod: onionmx serve")


def test_nobody() -> None:
    own = look_at_processes()
    for is_complete, words in ((True, "no daemon of onionmx runs here"), (False, "does not see the daemons")):
        seen = Seen(own.own, (), is_complete)
        (found,) = judge_daemons("isolation", Surroundings(seen, is_booted=True, made_by=""))
        assert found.severity is Severity.NOT_CHECKED
        assert words in found.seen


@pytest.mark.parametrize(
    ("line", "daemon"),
    [
        ("/usr/lib/onionmx/bin/python3 -I /usr/bin/onionmx relay", "relay"),
        ("python -I -m onionmx serve --verbose", "serve"),
        ("/usr/bin/onionmx guard", "guard"),
        ("sudo onionmx relay", ""),
        ("vi onionmx relay", ""),
        ("python x.py onionmx", ""),
        ("/usr/bin/onionmx doctor relay", ""),
        ("", ""),
    ],
)
def test_command_lines(line: str, daemon: str) -> None:
    assert daemon_of(line.split()) == daemon


@given(st.lists(st.text(max_size=5) | st.sampled_from(["python", "onionmx", *DAEMONS]), max_size=7))
def test_any_command_line(words: list[str]) -> None:
    assert daemon_of(words) in {"", *DAEMONS}
