"""Root's rights, given up: what the kernel says of the process afterwards."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from onionmx.defaults import USER
from onionmx.privileges import NOBODY
from tests.e2e.rights import excess, status_of, users
from tests.net.stranger import root_only

OWN = 54321
"""A number that no user of this machine has."""
_GIVE_UP = "import onionmx.privileges as p, sys; p.give_up_root(); print('done', flush=True); sys.stdin.read()"
_KEPT_FOR_LATER = _GIVE_UP.replace("p.give", f"import os; os.setresuid({OWN}, {OWN}, 0); p.give")
_USERS = f"""\
root:x:0:0::/root:/bin/sh
{USER}:x:{OWN}:{OWN}::/:/usr/sbin/nologin
"""
_INHERITED, _AMBIENT = (f"--{kind}-caps=+chown,+setuid,+dac_override" for kind in ("inh", "ambient"))
_KEEP = "--securebits=+no_setuid_fixup"  # the kernel leaves a process its capabilities whoever it becomes

pytestmark = root_only


@contextmanager
def given_up(before: Sequence[str] = (), program: str = _GIVE_UP) -> Iterator[Mapping[str, str]]:
    """What the kernel says of a process that has given up root's rights."""
    command = [*before, sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        yield status_of(process.pid)


def ids(status: Mapping[str, str]) -> tuple[set[str], set[str], str]:
    return set(status["Uid"].split()), set(status["Gid"].split()), status["Groups"]


def test_root_becomes_the_user_of_the_map_with_no_other_group() -> None:
    with users(_USERS) as before, given_up([*before, "setpriv", "--groups=0,4,33", "--"]) as status:
        assert ids(status) == ({str(OWN)}, {str(OWN)}, "")
        assert excess(status) == []


def test_root_becomes_nobody_where_that_user_does_not_exist() -> None:
    with users("root:x:0:0::/root:/bin/sh\n") as before, given_up(before) as status:
        assert ids(status) == ({str(NOBODY)}, {str(NOBODY)}, "")
        assert excess(status) == []


@pytest.mark.parametrize("before", [[_INHERITED], [_KEEP], [_KEEP, _INHERITED, _AMBIENT]])
def test_capabilities_that_the_kernel_would_leave_are_given_up(before: list[str]) -> None:
    with given_up(["setpriv", *before, "--"]) as status:
        assert excess(status) == []


def test_root_that_is_kept_for_later_is_given_up() -> None:
    with given_up(program=_KEPT_FOR_LATER) as status:
        assert str(OWN) not in status["Uid"].split()
        assert excess(status) == []


def test_another_user_stays_who_he_is_and_keeps_no_capability() -> None:
    identity = [f"--reuid={OWN}", f"--regid={OWN}", "--groups=4"]
    with given_up(["setpriv", *identity, _INHERITED, _AMBIENT, "--"]) as status:
        assert ids(status) == ({str(OWN)}, {str(OWN)}, "4")
        assert excess(status) == []


@pytest.mark.parametrize("missing", ["setuid", "setgid"])
def test_root_without_the_right_to_become_another_does_nothing(missing: str) -> None:
    """As in a container without CAP_SETUID."""
    helper = Path(sys.executable).with_name("onionmx-route")
    without = [f"--bounding-set=-{missing}", f"--inh-caps=-{missing}"]
    command: list[str | Path] = ["setpriv", *without, helper, "--map", "/nonexistent", "example.org"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr.startswith("onionmx-route: root's rights cannot be given up to be the user")
    assert done.stderr.endswith(": Operation not permitted\n")
    assert done.stderr.count("\n") == 1


def test_another_name_of_root_is_refused() -> None:
    with users(f"root:x:0:0::/root:/bin/sh\n{USER}:x:0:0::/:/bin/sh\n") as before:
        command = [*before, sys.executable, "-c", _GIVE_UP]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode
    assert "is another name of root" in done.stderr
