"""The metrics of one worker, for Prometheus: HTTP on a TCP port, or on a unix socket."""

import socket
from pathlib import Path
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from onionmx.config import UNIX, RelaySection, parse_socket
from onionmx.errors import ConfigurationError
from onionmx.onion import MAX_PORT
from onionmx.sockets import bind_tcp, bind_unix


def bind_metrics(settings: RelaySection) -> list[socket.socket]:
    """A socket for each worker, in their order; none where no metrics are wanted.

    A further worker has the next port, or the same path with `.1`, `.2` and so on behind it.

    Raises:
        ConfigurationError: one cannot be bound.
    """
    listen = settings.metrics_listen
    if not listen:
        return []
    if listen.startswith(UNIX):
        return [bind_unix(path, int(settings.unix_mode, 8)) for path in _paths(settings)]
    host, port = parse_socket(listen)
    if port + settings.workers - 1 > MAX_PORT:
        raise ConfigurationError(f"relay.metrics_listen {listen}: not enough ports for {settings.workers} workers")
    return [bind_tcp(host, port + worker) for worker in range(settings.workers)]


def serve_metrics(bound: socket.socket) -> None:
    """Serve the metrics of this process from a thread, until the process ends."""
    server = _Server(bound)
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def remove_metrics(settings: RelaySection) -> None:
    """Take the unix sockets of all workers away."""
    if settings.metrics_listen.startswith(UNIX):
        for path in _paths(settings):
            path.unlink(missing_ok=True)


def _paths(settings: RelaySection) -> list[Path]:
    path = settings.metrics_listen.removeprefix(UNIX)
    return [Path(f"{path}.{worker}" if worker else path) for worker in range(settings.workers)]


class _Handler(WSGIRequestHandler):
    timeout = 10.0
    """Seconds; each connection has a thread, and one that says nothing must not keep it."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name in the library
        """Keep silent: a scrape each few seconds is no news."""


class _Server(ThreadingWSGIServer):
    """Serves from a socket that is bound."""

    def __init__(self, bound: socket.socket) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()
        self.set_app(make_wsgi_app())
        self.server_activate()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """A connection; of a unix socket the library would not know how to write the peer."""
        connection, address = self.socket.accept()
        return connection, address[:2] if isinstance(address, tuple) else ("unix", 0)
