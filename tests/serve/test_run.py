"""`onionmx serve` as a process: sockets of every kind, restart, reload, signals, the cache on disk, descriptors."""

import json
import os
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.daemon import DaemonError, free_ports
from tests.e2e.programs import find_program
from tests.serve.daemon import ONIONMX, Serve
from tests.serve.service import RESULT, netstrings

FOUND = b"200 " + RESULT + b"\n"
NOT_FOUND = b"500 no%20entry%20in%20the%20map\n"


def exchange(connection: socket.socket, data: bytes) -> bytes:
    connection.settimeout(120)
    connection.sendall(data)
    return connection.recv(1000)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_every_protocol_on_every_kind_of_socket(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("socketmap", "tcp_table", "readsocket", "http")}
    serve = Serve(tmp_path)
    ports = dict(zip(paths, (serve.socketmap, serve.tcp_table, serve.readsocket, serve.http), strict=True))
    both = {f"{name}_listen": f'["127.0.0.1:{ports[name]}", "unix:{path}"]' for name, path in paths.items()}
    serve.configure(unix_mode='"0640"', unix_owner='"nobody:"'.replace(":", ""), **both)
    with serve.daemon as daemon:
        daemon.wait_for_log("lookups ready")
        for name, request, answer in (
            ("socketmap", netstrings(b"transport u@example.org"), b"29:OK " + RESULT + b","),
            ("tcp_table", b"get u@example.org\n", FOUND),
            ("readsocket", b"route own.example\n", b"none no entry in the map\n"),
            ("http", b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        ):
            with socket.create_connection(("127.0.0.1", ports[name])) as connection:
                assert exchange(connection, request).startswith(answer)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(paths[name]))
                assert exchange(connection, request).startswith(answer)
            assert paths[name].stat().st_mode & 0o777 == 0o640
            assert paths[name].owner() == "nobody"
        assert serve.control.stat().st_mode & 0o777 == 0o600
        assert serve.control.stat().st_uid == os.geteuid()
    assert not [path for path in (*paths.values(), serve.control) if path.exists()]


def test_a_socket_that_nobody_listens_on_any_more_is_replaced(tmp_path: Path) -> None:
    serve = Serve(tmp_path)
    with serve.daemon as daemon:
        daemon.wait_for_log("lookups ready")
        daemon.signal(signal.SIGKILL)
        daemon.stop()
        assert serve.control.is_socket()
        daemon.start().wait_for_log("lookups ready")
        (tmp_path / "second").mkdir()
        second = Serve(tmp_path / "second")
        second.configure(control=f'"{serve.control}"')
        with second.daemon, pytest.raises(DaemonError, match="another server listens there"):
            second.daemon.wait_for_log("lookups ready")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("result", '"smtp:[{host}]"', "unknown placeholder: {domain}, {onion}, {port} exist"),
        ("result", '"{onion!r}"', "unknown placeholder"),
        ("result", '"smtp:{onion"', "serve.result: 'smtp:{onion'"),
        ("result", '"a\\nb"', "expected printable ASCII characters"),
        ("socketmap_listen", '["localhost:1"]', "expected IP:PORT"),
        ("socketmap_listen", '["192.0.2.1:10027"]', "cannot listen on 192.0.2.1 port 10027"),
        (
            "socketmap_listen",
            '["unix:/no/such/folder/socket"]',
            "cannot listen on /no/such/folder/socket: No such file",
        ),
        ("unix_owner", '"no-such-user"', "owner 'no-such-user' of a socket: there is no such user or group here"),
        ("timeout", "0", "serve.timeout: Expected `float` > 0"),
    ],
)
def test_impossible_settings_end_it_at_once(tmp_path: Path, name: str, value: str, why: str) -> None:
    settings = {name: value}
    if name == "unix_owner":
        settings["socketmap_listen"] = f'["unix:{tmp_path}/socketmap"]'
    serve = Serve(tmp_path, None, **settings)
    with serve.daemon as daemon:
        with pytest.raises(DaemonError, match="ended before"):
            daemon.wait_for_log("lookups ready")
        assert why in daemon.log_text()
        assert "Traceback" not in daemon.log_text()
    assert not list(tmp_path.glob("*sock*"))


def test_mistakes_in_the_pins_end_it_and_a_missing_map_does_not(tmp_path: Path) -> None:
    serve = Serve(tmp_path)
    (tmp_path / "map.cdb").unlink()
    with serve.daemon as daemon:
        daemon.wait_for_log("WARNING .*map.cdb does not exist")
        daemon.wait_for_log("lookups ready")
        assert serve.ask("example.org").startswith(b"400 ")
    (tmp_path / "pins").write_text("example.org nonsense\n")
    with serve.daemon as daemon, pytest.raises(DaemonError, match="ended before"):
        daemon.wait_for_log("lookups ready")
    assert "nonsense" in daemon.log_text()


def test_reload_takes_a_good_configuration_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    serve = Serve(tmp_path)
    with serve.daemon as daemon:
        daemon.wait_for_log("lookups ready")
        with socket.create_connection(("127.0.0.1", serve.tcp_table)) as connection:
            assert exchange(connection, b"get example.org\n") == FOUND
            serve.configure(result='"relay:{domain}"')
            daemon.signal(signal.SIGHUP)
            daemon.wait_for_log("configuration reloaded")
            assert exchange(connection, b"get example.org\n") == b"200 relay:example.org\n"
            for settings, why in (
                ({"result": '"{nothing}"'}, "unknown placeholder"),
                ({"head": '[local]\nfile = "/no/such/file"\n'}, "/no/such/file"),
                ({"head": '[map]\npath = ""\n'}, "not TOML"),
            ):
                serve.configure(**settings)
                daemon.signal(signal.SIGHUP)
                daemon.wait_for_log(f"the new configuration cannot be used, the old one stays: .*{why}")
                assert exchange(connection, b"get example.org\n") == b"200 relay:example.org\n"
            serve.configure(head='[log]\nformat = "json"\n')
            daemon.signal(signal.SIGHUP)
            daemon.wait_for_log('"message": "configuration reloaded", "event": "reloaded"')
        with urllib.request.urlopen(f"http://127.0.0.1:{serve.http}/metrics") as response:
            metrics = response.read().decode()
        assert 'onionmx_lookup_reloads_total{result="taken"} 2.0' in metrics
        assert 'onionmx_lookup_reloads_total{result="refused"} 3.0' in metrics


def test_systemd_hears_of_it_all(tmp_path: Path) -> None:
    serve = Serve(tmp_path)
    serve.daemon.env["WATCHDOG_USEC"] = "200000"
    states: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(120)

        def wait_for(state: bytes) -> None:
            while not states or not states[-1].startswith(state):
                states.append(manager.recv(200))

        with serve.daemon as daemon:
            wait_for(b"READY=1")
            for _ in range(3):
                wait_for(b"WATCHDOG=1")
                states.append(b"")
            daemon.signal(signal.SIGHUP)
            wait_for(b"RELOADING=1\nMONOTONIC_USEC=")
            wait_for(b"READY=1")
            daemon.signal(signal.SIGTERM)
            wait_for(b"STOPPING=1")


def test_real_socket_activation_by_address(tmp_path: Path) -> None:
    serve = Serve(tmp_path)
    addresses = [f"127.0.0.1:{port}" for port in (serve.tcp_table, serve.http)]
    listen = [f"--listen={address}" for address in addresses]
    activate = [str(find_program("systemd-socket-activate")), "-E", "PATH", *listen]
    serve.daemon.command = [*activate, str(ONIONMX), "serve", "--config", str(serve.configuration)]
    with serve.daemon as daemon:
        daemon.wait_for_log("Listening on")
        assert serve.ask("u@example.org") == FOUND
        with urllib.request.urlopen(f"http://127.0.0.1:{serve.http}/routes/example.org") as response:
            assert json.load(response)["answer"] == "found"
        with socket.create_connection(("127.0.0.1", serve.socketmap)) as connection:
            assert b"OK" in exchange(connection, netstrings(b"t example.org"))


def test_a_socket_that_nobody_has_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        serve = Serve(tmp_path, {"something": bound})
        with serve.daemon as daemon, pytest.raises(DaemonError, match="ended before"):
            daemon.wait_for_log("lookups ready")
        assert (
            f"a socket at 127.0.0.1:{bound.getsockname()[1]}, named 'something': expected one of" in daemon.log_text()
        )


class Client(threading.Thread):
    """Asks as Postfix does: on one connection, and once more on another one when that was closed."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        super().__init__()
        self._port = port
        self._stop_asking = stop
        self.answered = 0
        self.failures: list[str] = []

    def run(self) -> None:
        connection = self._connect()
        request = netstrings(b"transport user@example.org")
        expected = b"29:OK " + RESULT + b","
        while not self._stop_asking.is_set():
            for attempt in range(2):
                try:
                    answer = exchange(connection, request)
                except OSError as error:
                    answer = str(error).encode()
                if answer == expected:
                    self.answered += 1
                    break
                connection.close()
                connection = self._connect()
                if attempt:
                    self.failures.append(repr(answer))
        connection.close()

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=30)


def test_restart_under_200_clients_fails_none(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as bound:
        serve = Serve(tmp_path, {"socketmap": bound})
        stop = threading.Event()
        clients = [Client(bound.getsockname()[1], stop) for _ in range(200)]
        try:
            for client in clients:
                client.start()
            for _ in range(3):
                before = [client.answered for client in clients]
                with serve.daemon as daemon:
                    daemon.wait_for_log("lookups ready")
                    daemon.wait_until(
                        lambda before=before: all(  # type: ignore[misc]
                            client.answered > number for client, number in zip(clients, before, strict=True)
                        ),
                        "an answer for each client",
                    )
                    daemon.stop()
                    assert "stopped" in daemon.log_text()
            serve.daemon.start().wait_for_log("lookups ready")
        finally:
            stop.set()
            for client in clients:
                client.join()
            serve.daemon.stop()
    assert [client.failures for client in clients if client.failures] == []


def test_ten_thousand_connections_leave_no_descriptor(tmp_path: Path) -> None:
    serve = Serve(tmp_path)
    with serve.daemon as daemon:
        daemon.wait_for_log("lookups ready")
        serve.ask("example.org")
        daemon.wait_until(lambda: "0.0" in _connections(serve), "the end of the first one")
        before = descriptors(daemon.pid)
        pieces = {serve.socketmap: b"26:trans", serve.tcp_table: b"get ", serve.readsocket: b"hos", serve.http: b"GET "}
        for number in range(2500):
            for port, piece in pieces.items():
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    if number % 2:
                        connection.sendall(piece)
                    if number % 3 == 0:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST
        daemon.wait_until(lambda: descriptors(daemon.pid) <= before, "closed descriptors")
        assert serve.ask("example.org") == FOUND
        assert "Traceback" not in daemon.log_text()


def _connections(serve: Serve) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{serve.http}/metrics") as response:
        text: str = response.read().decode()
    return next(
        line for line in text.splitlines() if line.startswith('onionmx_lookup_connections{protocol="tcp_table"')
    )


def test_the_cache_survives_a_restart(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    serve = Serve(tmp_path)
    head = f'[lookup]\nlive = true\n[dns]\nnameservers = ["127.0.0.1:{port}"]\ntimeout = 0.3\n'
    serve.configure(head)
    target = f"{'a' * 56}.onion"
    with serve.daemon as daemon:
        daemon.wait_for_log("lookups ready")
        assert serve.ask("live.example").startswith(b"400 ")
    content = json.loads(serve.cache.read_bytes())
    assert content["entries"] == []
    assert target not in serve.cache.read_text()
    content["saved"] = time.time()
    content["entries"] = [{"domain": "live.example", "remaining": 1000.0, "reason": "kept from before"}]
    serve.cache.write_text(json.dumps(content))
    with serve.daemon as daemon:
        daemon.wait_for_log("1 answers of an earlier run")
        daemon.wait_for_log("lookups ready")
        assert serve.ask("live.example") == b"500 kept%20from%20before\n"
    assert [entry["domain"] for entry in json.loads(serve.cache.read_bytes())["entries"]] == ["live.example"]
