"""The few bytes of SOCKS5 that a test needs to reach an onion service, with Tor's reply codes kept (RFC 1928)."""

import socket
import struct
from contextlib import ExitStack

Address = tuple[str, int]
"""Host and port."""


class SocksError(OSError):
    """The SOCKS proxy refused, closed, or could not be reached."""

    def __init__(self, message: str, reply: int | None = None) -> None:
        """Keep the reply code (RFC 1928 section 6, and X'F0' to X'F7' of Tor) beside the text."""
        super().__init__(message)
        self.reply = reply


def socks_connect(proxy: Address, host: str, port: int, timeout: float = 120.0, user: str = "") -> socket.socket:
    """Return a connection to a host name through a SOCKS5 proxy (RFC 1928).

    Args:
        user: whose connections have circuits of their own (RFC 1929; tor(1), IsolateSOCKSAuth); empty for none.
    """
    with ExitStack() as on_error:
        try:
            connection = on_error.enter_context(socket.create_connection(proxy, timeout))
            connection.sendall(b"\x05\x01\x02" if user else b"\x05\x01\x00")
            _read(connection, 2)
            if user:
                connection.sendall(b"\x01" + bytes([len(user)]) + user.encode("ascii") + b"\x01x")
                _read(connection, 2)
            name = host.encode("ascii")
            connection.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack("!H", port))
            # Tor always gives an IPv4 bound address, so every reply has 10 bytes.
            reply = _read(connection, 10)[1]
        except OSError as error:
            raise SocksError(f"SOCKS at {proxy[0]}:{proxy[1]}: {error}") from error
        if reply:
            raise SocksError(f"CONNECT to {host}:{port} answered X'{reply:02X}'", reply)
        on_error.pop_all()
    return connection


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionResetError("closed by the proxy")
        data += chunk
    return data
