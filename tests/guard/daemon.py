"""`onionmx guard` as a process, for tests."""

import getpass
import os
import socket
import sys
from pathlib import Path

from tests.e2e.daemon import Daemon, free_ports

ANSWER_TIMEOUT = 120.0
CIRCUIT = "fc00:dead:beef:4dad::12:3456"


def ask(address: tuple[str, int], state: str, client: str = CIRCUIT, **more: str) -> bytes:
    """One request and its answer, as Exim sends it: nothing follows."""
    with socket.create_connection(address, ANSWER_TIMEOUT) as connection:
        connection.sendall(request(state, client, **more))
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def request(state: str, client: str = CIRCUIT, **more: str) -> bytes:
    """One request."""
    attributes = {"request": "smtpd_access_policy", "protocol_state": state, "client_address": client, **more}
    return "".join(f"{name}={value}\n" for name, value in attributes.items()).encode() + b"\n"


class GuardProcess:
    """A guard in a folder of its own.

    Args:
        control: of tor, as the configuration has it.
        settings: TOML values of `[guard]`, by name.
    """

    def __init__(self, folder: Path, control: str = "unix:/nonexistent/control", **settings: str) -> None:
        folder.mkdir(exist_ok=True)
        port, http = free_ports(2)
        self.address = ("127.0.0.1", port)
        self.http = ("127.0.0.1", http)
        self.control = control
        self._configuration = folder / "onionmx.toml"
        self.configure(**settings)
        command = [sys.executable, "-m", "onionmx", "guard", "--config", str(self._configuration)]
        self.daemon = Daemon("guard", command, folder, {"PYTHONUNBUFFERED": "1", "HOME": os.environ.get("HOME", "/")})

    def configure(self, **settings: str) -> None:
        """Write its configuration."""
        values = {
            "listen": f'["127.0.0.1:{self.address[1]}"]',
            "metrics_listen": f'"127.0.0.1:{self.http[1]}"',
            **settings,
        }
        lines = "".join(f"{name} = {value}\n" for name, value in values.items())
        tor = f'[tor]\ncontrol = "{self.control}"\nuser = "{getpass.getuser()}"\n'
        self._configuration.write_text(f"{tor}[guard]\n{lines}")

    def start(self) -> "GuardProcess":
        """Start it and wait until it answers."""
        self.daemon.start().wait_for_log("guard ready")
        return self

    def metrics(self) -> dict[str, float]:
        """What it counts."""
        with socket.create_connection(self.http, ANSWER_TIMEOUT) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            said = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        lines = [line.rsplit(" ", 1) for line in said.splitlines() if line.startswith("onionmx_guard")]
        return {name: float(value) for name, value in lines}
