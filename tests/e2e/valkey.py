"""A real Valkey or Redis server, with a password, over TLS where that is asked for.

Debian 12 has Redis 7.0, from which Valkey was forked; the protocol is the same.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from onionmx.config.store import ValkeyAddress
from onionmx.errors import StateError
from onionmx.sync.state.valkey.lock import LEASE
from onionmx.sync.state.valkey.server import ValkeyConnection
from onionmx.sync.state.valkey.store import ValkeyStore

from .daemon import Daemon, free_ports
from .programs import MissingProgramError, find_program

LOOPBACK = "127.0.0.1"
PASSWORD = "correct horse battery staple"  # noqa: S105 -- of a server that lives for one test
NAMES = ("valkey-server", "redis-server")


class ValkeyServer:
    """The server, on 127.0.0.1, with every write on the disk before it is answered.

    Args:
        tls: certificate, key and CA as files; `None` for no TLS.
        options: further lines of its configuration.
        user: who uses it, as `options` describe him; by default the one who may do everything.
    """

    def __init__(self, tls: tuple[Path, Path, Path] | None = None, options: Sequence[str] = (), user: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="onionmx-valkey-"))
        self.address = ValkeyAddress(LOOPBACK, free_ports(1)[0], is_tls=tls is not None, user=user)
        self.password_file = self.folder / "password"
        self.ca_file = str(tls[2]) if tls else ""
        lines = [
            f"bind {LOOPBACK}",
            f"port {0 if tls else self.address.port}",
            f"dir {self.folder}",
            "appendonly yes",
            "appendfsync always",
            'save ""',
            "loglevel warning",
            *options,
        ]
        if not user:
            lines.append(f'requirepass "{PASSWORD}"')
        if tls:
            certificate, key, ca = tls
            lines += [f"tls-port {self.address.port}", f"tls-cert-file {certificate}", f"tls-key-file {key}"]
            lines += [f"tls-ca-cert-file {ca}", "tls-auth-clients no"]
        configuration = self.folder / "valkey.conf"
        configuration.write_text("\n".join([*lines, ""]))
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(f"{PASSWORD}\n")
        self.daemon = Daemon("valkey", [_program(), configuration], self.folder)

    def start(self) -> Self:
        """Start it and wait until it has read its data and answers."""
        self.daemon.start()
        self.daemon.wait_for_port(LOOPBACK, self.address.port)
        server = self.server()

        def is_ready() -> bool:
            try:
                return bool(server.ask("PING"))
            except StateError:
                return False

        self.daemon.wait_until(is_ready, "its data to be read")
        server.close()
        return self

    def stop(self) -> None:
        """End it; the data stay for the next start."""
        self.daemon.stop()

    def server(self, address: ValkeyAddress | None = None) -> ValkeyConnection:
        """A client with the right password."""
        return ValkeyConnection(
            address or self.address, password_file=str(self.password_file), ca_file=self.ca_file, timeout=30
        )

    def store(self, lease: float = LEASE) -> ValkeyStore:
        """A store on it."""
        return ValkeyStore(self.server(), lease=lease)

    @property
    def setting(self) -> str:
        """The lines of the table [sync] for a host that uses it."""
        scheme = "valkeys" if self.address.is_tls else "valkey"
        user = f"{self.address.user}@" if self.address.user else ""
        return (
            f'store = "{scheme}://{user}{LOOPBACK}:{self.address.port}"\n'
            f'store_password_file = "{self.password_file}"\nstore_ca_file = "{self.ca_file}"'
        )

    def flush(self) -> None:
        """Make it empty."""
        server = self.server()
        server.ask("FLUSHALL")
        server.close()

    def close(self) -> None:
        """End it and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def program_version() -> str:
    """What the program says of itself."""
    return subprocess.run([_program(), "--version"], capture_output=True, text=True, check=True).stdout.strip()


def _program() -> Path:
    for name in NAMES:
        try:
            return find_program(name)
        except MissingProgramError:
            continue
    raise MissingProgramError(" or ".join(NAMES))
