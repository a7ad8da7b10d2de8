"""The resolver of an MTA: it answers that nothing exists, and records every question."""

import os
import socket
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.rcode

from tests.small_disk import with_own_mounts

_PORT = 53  # glibc asks no other
_STOP = b"stop"


class DnsLogger:
    """A name server on an address of loopback that nothing else uses, by UDP and by TCP.

    Programs started with the words of `wrap` in front find it in their /etc/resolv.conf, in a mount namespace of their
    own; that and port 53 need root.

    Args:
        folder: for the resolv.conf.
    """

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self._udp, self._tcp = _bind()
        self.host: str = self._udp.getsockname()[0]
        file = folder / "resolv.conf"
        file.write_text(f"nameserver {self.host}\noptions timeout:30 attempts:1\n")
        file.chmod(0o644)
        self.wrap = [*with_own_mounts(), "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(file)]
        self._threads = [threading.Thread(target=serve) for serve in (self._serve_udp, self._serve_tcp)]

    @property
    def address(self) -> tuple[str, int]:
        """Where it answers."""
        return self.host, _PORT

    def questions_under(self, name: str) -> list[str]:
        """The names at or below a name that were asked for."""
        return [asked for asked in self.asked if f".{asked}".endswith(f".{name}")]

    def _reply_to(self, packet: bytes) -> bytes:
        try:
            query = dns.message.from_wire(packet)
        except dns.exception.DNSException as error:
            self.asked.append(f"unreadable: {error}")
            return b""
        self.asked += [str(question.name).lower().rstrip(".") for question in query.question]
        reply = dns.message.make_response(query, recursion_available=True)
        reply.set_rcode(dns.rcode.NXDOMAIN)
        reply.flags |= dns.flags.AA
        return reply.to_wire()

    def _serve_udp(self) -> None:
        while True:
            packet, client = self._udp.recvfrom(4096)
            if packet == _STOP:
                return
            self._udp.sendto(self._reply_to(packet), client)

    def _serve_tcp(self) -> None:
        while True:
            connection, _ = self._tcp.accept()
            with connection, connection.makefile("rb") as stream:
                connection.settimeout(5)
                head = stream.read(2)
                if not head:
                    return
                reply = self._reply_to(stream.read(struct.unpack("!H", head)[0]))
                connection.sendall(struct.pack("!H", len(reply)) + reply)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(_STOP, self.address)
        socket.create_connection(self.address).close()
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()


def _bind() -> tuple[socket.socket, socket.socket]:
    """Sockets on an address that depends on the process, so that tests beside each other do not meet."""
    start = os.getpid()
    for number in range(start, start + 100):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind((f"127.53.{number // 250 % 250}.{number % 250 + 1}", _PORT))
            return udp, socket.create_server(udp.getsockname())
        except OSError:
            udp.close()
    raise RuntimeError("no address of loopback has port 53 free")
