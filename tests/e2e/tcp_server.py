"""A server for onion services to lead to, in this process."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from weakref import WeakSet

from .socks import Address


class _Server(socketserver.ThreadingTCPServer):
    """Its end is that of its connections: tor may hold one open whose other end is gone."""

    def __init__(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        self._connections: WeakSet[socket.socket] = WeakSet()
        super().__init__(("127.0.0.2", 0), handler)

    def get_request(self) -> tuple[socket.socket, Address]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def server_close(self) -> None:
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()  # waits for the threads


@contextmanager
def tcp_server(handler: type[socketserver.BaseRequestHandler]) -> Iterator[Address]:
    """Serve each connection to a free port of 127.0.0.2 in a thread of its own; those that are open end with it.

    Args:
        handler: what is done with a connection.
    """
    with _Server(handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield "127.0.0.2", server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()
