"""`onionmx serve` as a process of its own, and what plays systemd for it."""

import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.e2e.daemon import Daemon, free_ports
from tests.mapfile.maps import A, B, make_map

ONIONMX = Path(sys.executable).with_name("onionmx")


# Moves the descriptors to where systemd has them, first out of the way, or one would take the place of another.
_LAUNCH = """
import fcntl, os, sys
given = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1].split(",")]
for place, descriptor in enumerate(given, 3):
    os.dup2(descriptor, place)
    os.close(descriptor)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given))}
os.execv(sys.argv[2], sys.argv[2:])
"""


def activated(descriptors: Iterable[int], command: Sequence[str | Path]) -> list[str | Path]:
    """The command that starts a command with these descriptors, as systemd does; `pass_fds` must name them too."""
    return [sys.executable, "-c", _LAUNCH, ",".join(map(str, descriptors)), *command]


class ActivatedDaemon(Daemon):
    """A daemon that gets its sockets as from systemd. They are ours, so they outlive it."""

    def __init__(
        self,
        sockets: Mapping[str, socket.socket],
        command: Sequence[str | Path],
        folder: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._descriptors = tuple(bound.fileno() for bound in sockets.values())
        listen = {"LISTEN_FDNAMES": ":".join(sockets)}
        super().__init__("serve", activated(self._descriptors, command), folder, {**environment, **listen})

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self._descriptors,
            )
        return self


class Serve:
    """The daemon in a folder of its own, with a map that has example.org.

    Args:
        folder: for everything.
        sockets: what systemd would hand over, by name; the daemon listens nowhere else then.
        settings: of the section [serve], as TOML writes them.
    """

    def __init__(self, folder: Path, sockets: Mapping[str, socket.socket] | None = None, **settings: str) -> None:
        self.folder = folder
        self.socketmap, self.tcp_table, self.readsocket, self.http = free_ports(4)
        self.control = folder / "serve.sock"
        self.cache = folder / "state" / "cache"
        make_map(folder / "map.cdb", {"example.org": ((A, 25), (B, 2525))})
        self.configuration = folder / "onionmx.toml"
        self._has_sockets = sockets is not None
        self.configure(**settings)
        command: list[str | Path] = [ONIONMX, "serve", "--config", self.configuration]
        environment = {"NOTIFY_SOCKET": str(folder / "notify")}
        if sockets is None:
            self.daemon = Daemon("serve", command, folder, environment)
        else:
            self.daemon = ActivatedDaemon(sockets, command, folder, environment)

    def configure(self, head: str = "", **settings: str) -> None:
        """Write the configuration."""
        listen = {
            "socketmap_listen": f'["127.0.0.1:{self.socketmap}"]',
            "tcp_table_listen": f'["127.0.0.1:{self.tcp_table}"]',
            "readsocket_listen": f'["127.0.0.1:{self.readsocket}"]',
            "http_listen": f'["127.0.0.1:{self.http}"]',
        }
        common = {"control": f'"{self.control}"', "cache_path": f'"{self.cache}"'}
        settings = (dict.fromkeys(listen, "[]") if self._has_sockets else listen) | common | settings
        (self.folder / "pins").touch()
        self.configuration.write_text(
            f'[map]\npath = "{self.folder}/map.cdb"\n[sync]\npins = "{self.folder}/pins"\n{head}'
            "[serve]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )

    def ask(self, key: str) -> bytes:
        """What tcp_table says."""
        with socket.create_connection(("127.0.0.1", self.tcp_table), timeout=120) as connection:
            connection.sendall(f"get {key}\n".encode())
            return connection.makefile("rb").readline()
