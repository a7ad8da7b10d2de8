"""A server for onion services to lead to, in this process."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .socks import Address


@contextmanager
def tcp_server(handler: type[socketserver.BaseRequestHandler]) -> Iterator[Address]:
    """Serve each connection to a free port of 127.0.0.2 in a thread of its own.

    Args:
        handler: what is done with a connection.
    """
    with socketserver.ThreadingTCPServer(("127.0.0.2", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield "127.0.0.2", server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()
