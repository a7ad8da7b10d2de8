"""Sockets to listen on, in folders that others may write too."""

import grp
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from onionmx.errors import ConfigurationError
from onionmx.net.listen import _give, bind_tcp, bind_unix
from tests.net.stranger import as_stranger, user_namespace


def test_mode_and_owner(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    group = grp.getgrgid(os.getgid()).gr_name
    with closing(bind_unix(path, 0o620, f":{group}")):
        status = path.lstat()
        assert stat.S_IMODE(status.st_mode) == 0o620
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getgid())


def test_low_port_without_rights_says_whence_it_comes() -> None:
    with as_stranger(), pytest.raises(ConfigurationError) as raised:
        bind_tcp("127.0.0.1", 1)
    assert str(raised.value) == (
        "cannot listen on 127.0.0.1 port 1: Permission denied; a port below 1024 comes from the socket unit "
        "(docs/units.md)"
    )


def link(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def hard_link(path: Path, secret: Path) -> None:
    path.hardlink_to(secret)


def another_socket(path: Path, secret: Path) -> None:
    other = secret.with_name("other")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(other))
    path.hardlink_to(other)


@pytest.mark.parametrize("swap", [link, hard_link, another_socket])
def test_what_was_put_in_the_place_of_the_socket_stays_as_it_is(
    tmp_path: Path, swap: Callable[[Path, Path], None]
) -> None:
    """Who may write to the folder does that between bind() and what follows it."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    path = tmp_path / "socket"
    swap(path, secret)
    with pytest.raises(OSError, match=r"something else was put"):
        _give(path, 0o666, "")
    for one in (secret, tmp_path / "other"):
        assert not one.exists() or stat.S_IMODE(one.stat().st_mode) != 0o666


def test_link_to_a_stale_socket_is_left_alone(tmp_path: Path) -> None:
    stale = tmp_path / "stale"
    bind_unix(stale, 0o600).close()
    path = tmp_path / "socket"
    path.symlink_to(stale)
    with pytest.raises(ConfigurationError, match="Address already in use"):
        bind_unix(path, 0o600)
    assert path.is_symlink()
    assert stale.is_socket()


@user_namespace
def test_owner_whom_the_user_namespace_does_not_know(tmp_path: Path) -> None:
    """As with PrivateUsers=yes: only root and the unit's own user are known there."""
    words = (
        "from pathlib import Path; from onionmx.net.listen import bind_unix; bind_unix(Path('socket'), 0o660, ':adm')"
    )
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", words]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "it cannot be given to :adm, whom the user namespace of this process does not know" in done.stderr
    assert not (tmp_path / "socket").exists()
