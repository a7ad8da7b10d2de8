"""One real tor without a network, for what is between it, its torrc and its control port."""

import socket
from pathlib import Path

from .daemon import START_TIMEOUT
from .tor_node import LOOPBACK, ControlledTor

# tor wants authorities for a testing network, and with DisableNetwork asks none.
_OFFLINE = f"""\
SocksPort 0
DisableNetwork 1
DirAuthority nobody orport=1 no-v2 v3ident={"A" * 40} {LOOPBACK}:9 {"B" * 40}
"""


class LoneTor(ControlledTor):
    """It never opens a connection.

    Args:
        folder: becomes its DataDirectory.
        torrc: more lines.
        cookie: whether its control port takes the cookie.
    """

    def __init__(self, folder: Path, torrc: str = "", *, cookie: bool = True) -> None:
        super().__init__("lone", folder, _OFFLINE + torrc)
        self.torrc = folder / "torrc"
        self.socket = folder / "control.socket"
        text = self.torrc.read_text().replace("CookieAuthentication 1", f"CookieAuthentication {int(cookie)}")
        self.torrc.write_text(f"{text}ControlSocket {self.socket}\n")

    @property
    def control_address(self) -> str:
        """As the configuration names it."""
        return f"{self.control[0]}:{self.control[1]}"

    def start(self) -> None:
        """Start it and wait until its control port answers: then all of the torrc is done, host names included."""
        super().start()
        self.daemon.wait_for_port(*self.control)
        with socket.create_connection(self.control, START_TIMEOUT) as connection:
            connection.sendall(b"PROTOCOLINFO 1\r\nQUIT\r\n")
            while connection.recv(4096):
                pass
