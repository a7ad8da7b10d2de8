"""`onionmx guard` as a process: sockets, activation, several requests on a connection, reload, faults."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from onionmx.cli import main
from onionmx.config import GuardSection
from tests.e2e.daemon import DaemonError
from tests.guard.daemon import ANSWER_TIMEOUT, GuardProcess, ask, request
from tests.test_units import lines

PASS = b"action=DUNNO\n\n"
REFUSED = b"action=421 4.7.0 too many connections over this circuit, try again later\n\n"


def test_several_requests_on_a_connection_and_in_a_packet(tmp_path: Path) -> None:
    guard = GuardProcess(tmp_path, connections_per_minute="4")
    with guard.daemon as daemon:
        daemon.wait_for_log("guard ready")
        with socket.create_connection(guard.address, ANSWER_TIMEOUT) as connection:
            connection.sendall(request("CONNECT"))
            assert connection.recv(1000) == PASS
            connection.sendall(request("CONNECT") * 2 + b"nonsense\n\n" + request("CONNECT")[:20])
            assert connection.recv(3 * len(PASS), socket.MSG_WAITALL) == PASS * 3
            connection.sendall(request("CONNECT")[20:] + request("CONNECT"))
            connection.shutdown(socket.SHUT_WR)
            rest = b"".join(iter(lambda: connection.recv(1000), b""))
        assert rest == PASS + REFUSED
        assert guard.metrics()['onionmx_guard_requests_total{answer="malformed"}'] == 1


def test_overlong_request_is_answered_and_ends_the_connection(tmp_path: Path) -> None:
    guard = GuardProcess(tmp_path)
    with guard.daemon as daemon:
        daemon.wait_for_log("guard ready")
        with socket.create_connection(guard.address, ANSWER_TIMEOUT) as connection:
            connection.sendall(b"a=" + b"x" * 10_000)
            assert connection.recv(1000) == PASS
            assert connection.recv(1000) == b""


def test_unix_socket_and_metrics(tmp_path: Path) -> None:
    path = tmp_path / "guard.sock"
    guard = GuardProcess(tmp_path, listen=f'["unix:{path}"]', unix_mode='"0600"')
    with guard.daemon as daemon:
        daemon.wait_for_log("guard ready")
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(request("CONNECT", "192.0.2.1"))
            assert connection.recv(1000) == PASS
        assert guard.metrics()['onionmx_guard_requests_total{answer="no_circuit"}'] == 1
    assert not path.exists()


def test_reload_takes_good_limits_and_keeps_the_old_ones_for_bad(tmp_path: Path) -> None:
    guard = GuardProcess(tmp_path, connections_per_minute="1")
    with guard.daemon as daemon:
        daemon.wait_for_log("guard ready")
        assert ask(guard.address, "CONNECT") == PASS
        guard.configure(connections_per_minute="100")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("configuration reloaded")
        guard.configure(connections_per_minute="-1")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("the old one stays: .*connections_per_minute")
        assert [ask(guard.address, "CONNECT") for _ in range(20)] == [PASS] * 20
        assert ask(guard.address, "CONNECT", "192.0.2.1") == PASS


def test_socket_of_systemd_is_taken_over(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        guard = GuardProcess(tmp_path)
        activate = (
            f"import os; os.dup2({bound.fileno()}, 3, True); "
            "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); "
            f"os.execv({sys.executable!r}, {[sys.executable, *guard.daemon.command[1:]]!r})"
        )
        with subprocess.Popen(
            [sys.executable, "-c", activate], pass_fds=[bound.fileno()], stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                assert ask(bound.getsockname(), "CONNECT") == PASS
            finally:
                process.terminate()
            _, said = process.communicate(timeout=ANSWER_TIMEOUT)
        assert process.returncode == os.EX_OK
        assert f"nobody listens on 127.0.0.1:{guard.address[1]}" in said
        assert f"nobody listens on 127.0.0.1:{guard.http[1]}" not in said


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("listen", '["192.0.2.1:10031"]', "cannot listen on 192.0.2.1 port 10031"),
        ("listen", '["localhost:1"]', "expected IP:PORT"),
        ("listen", "[]", "guard.listen: Expected `array` of length >= 1"),
        ("metrics_listen", '"unix:/no/such/folder/socket"', "cannot listen on /no/such/folder/socket"),
        ("close_after", "0", "guard.close_after: Expected `int` >= 1"),
        ("max_circuits", "0", "guard.max_circuits: Expected `int` >= 1"),
    ],
)
def test_impossible_settings_end_it_at_once(tmp_path: Path, name: str, value: str, why: str) -> None:
    guard = GuardProcess(tmp_path, **{name: value})
    with guard.daemon as daemon:
        with pytest.raises(DaemonError, match="ended before"):
            daemon.wait_for_log("guard ready")
        assert why in daemon.log_text()
        assert daemon.exit_code == os.EX_CONFIG
        assert "Traceback" not in daemon.log_text()


def test_the_sockets_are_those_of_the_configuration() -> None:
    assert lines("onionmx-guard.socket", "ListenStream") == [*GuardSection().listen]


def test_help_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guard", "--help"]) == 0
    assert "Limit what comes in over each circuit of the onion service." in capsys.readouterr().out
