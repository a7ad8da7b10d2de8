"""A real HTTPS server for policies, on a port of loopback."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar, cast

from tests.net.certificates import Issued

POLICY = b"version: STSv1\nmode: enforce\nmx: mx.example.org\nmx: *.backup.example\nmax_age: 604800\n"


class PolicyHost(ThreadingHTTPServer):
    """What it answers can be changed while it runs.

    Attributes:
        status: of the answer.
        headers: of the answer, beside Content-Length.
        content: of the answer.
        requests: request lines and Host headers that came.
    """

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.status = 200
        self.headers = {"Content-Type": "text/plain; charset=utf-8"}
        self.content = POLICY
        self.requests: list[tuple[str, str]] = []

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust the certificate hangs up; that is its business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float] = 10

    def do_GET(self) -> None:
        """Answer."""
        host = cast("PolicyHost", self.server)
        host.requests.append((self.requestline, self.headers["Host"]))
        self.send_response(host.status)
        for name, value in host.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(host.content)))
        self.end_headers()
        self.wfile.write(host.content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the library's name
        """Keep quiet."""


@contextmanager
def policy_host(certificate: Issued, folder: Path) -> Iterator[PolicyHost]:
    """Run one with this certificate."""
    with PolicyHost(certificate.context(folder)) as host:
        thread = Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield host
        finally:
            host.shutdown()
            thread.join()
