"""The open DNS of a machine: it has the records of the test, knows nothing else, and writes every question down."""

import socketserver
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock, Thread
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from dns.exception import DNSException

ADDRESS = ("127.0.0.1", 53)
_TTL = 60


@dataclass(frozen=True)
class Question:
    """A question as it came, the name in lower case and without the dot at the end."""

    name: str
    kind: str


class OpenDns:
    """A name server on 127.0.0.1:53, UDP and TCP.

    Args:
        records: name and type, both as text, to the data of the records. Names above these exist and have nothing.
    """

    def __init__(self, records: Mapping[tuple[str, str], Sequence[str]]) -> None:
        self.records = dict(records)
        self._questions: list[Question] = []
        self._lock = Lock()
        handler = _handler(self)
        self._servers = (_Udp(ADDRESS, handler), _Tcp(ADDRESS, handler))

    def questions(self) -> list[Question]:
        """All questions so far."""
        with self._lock:
            return list(self._questions)

    def forget(self) -> None:
        """Forget all questions so far."""
        with self._lock:
            self._questions.clear()

    def leaks(self) -> list[Question]:
        """The questions that tell somebody about an onion service."""
        return [question for question in self.questions() if question.name.split(".")[-1] == "onion"]

    def answer(self, query: bytes) -> bytes:
        """Answer one message; nothing for what is none."""
        try:
            message = dns.message.from_wire(query)
            asked = message.question[0]
        except (DNSException, IndexError):
            return b""
        name, kind = asked.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(asked.rdtype)
        with self._lock:
            self._questions.append(Question(name, kind))
        response = dns.message.make_response(message)
        # Who does not ask for recursion asks it as the name server of the zone.
        response.flags |= dns.flags.RA if message.flags & dns.flags.RD else dns.flags.AA
        data = self.records.get((name, kind))
        if data:
            response.answer.append(dns.rrset.from_text(asked.name, _TTL, "IN", kind, *data))
        elif not any(known == name or known.endswith(f".{name}") for known, _ in tuple(self.records)):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()

    def __enter__(self) -> Self:
        """Start it."""
        for server in self._servers:
            Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def _handler(server: OpenDns) -> type[socketserver.StreamRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        def setup(self) -> None:
            if isinstance(self.server, _Tcp):
                super().setup()

        def handle(self) -> None:
            if isinstance(self.request, tuple):
                query, reply = self.request
                reply.sendto(server.answer(query), self.client_address)
                return
            while len(size := self.rfile.read(2)) == 2:
                answer = server.answer(self.rfile.read(struct.unpack("!H", size)[0]))
                self.wfile.write(struct.pack("!H", len(answer)) + answer)

        def finish(self) -> None:
            if isinstance(self.server, _Tcp):
                super().finish()

    return Handler
