import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from onionmx import systemd
from tests.serve.daemon import activated


def test_notifications_reach_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        systemd.notify("READY=1")
        systemd.notify(systemd.reloading())
        assert manager.recv(100) == b"READY=1"
        state, clock = manager.recv(100).decode().split("\n")
        assert state == "RELOADING=1"
        assert int(clock.removeprefix("MONOTONIC_USEC=")) > 0


def test_nobody_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify("READY=1")
    assert not caplog.records
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    systemd.notify(systemd.reloading())
    assert "the service manager cannot be told RELOADING=1: No such file" in caplog.records[0].getMessage().replace(
        "[Errno 2] ", ""
    )


@pytest.mark.parametrize(
    ("microseconds", "pid", "expected"),
    [
        ("30000000", None, 30.0),
        ("30000000", "own", 30.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_watchdog(
    monkeypatch: pytest.MonkeyPatch, microseconds: str | None, pid: str | None, expected: float | None
) -> None:
    pid = str(os.getpid()) if pid == "own" else pid
    for name, value in (("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert systemd.watchdog_seconds() == expected


@pytest.mark.parametrize(("names", "expected"), [("http:", ["http", ""]), ("", ["", ""]), ("a:b:c", ["a", "b"])])
def test_sockets_are_taken_once_with_their_names(names: str, expected: list[str]) -> None:
    """In a process of its own, whose descriptors 3 and 4 are the sockets."""
    code = (
        "from onionmx.systemd import inherited_sockets as take; import os; taken = take()\n"
        "print([name for name, _ in taken], [one.getsockname()[1] for _, one in taken])\n"
        "print([os.get_inheritable(one.fileno()) for _, one in taken], take(), 'LISTEN_FDS' in os.environ)"
    )
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        descriptors = (first.fileno(), second.fileno())
        output = subprocess.run(
            activated(descriptors, [sys.executable, "-c", code]),
            pass_fds=descriptors,
            env=os.environ | {"LISTEN_FDNAMES": names},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        ports = [first.getsockname()[1], second.getsockname()[1]]
    assert output == f"{expected} {ports}\n[False, False] [] False\n"


@pytest.mark.parametrize("pid", ["1", ""])
def test_sockets_of_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch, pid: str) -> None:
    monkeypatch.setenv("LISTEN_PID", pid)
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert systemd.inherited_sockets() == []
