"""A bad way to a name server: packets are lost, doubled and late, and forged replies come before the true ones.

It is between a client and a server, as a process of its own: `python -m tests.dns.hostile PORT UPSTREAM SEED`.
What happens to a packet depends on the seed and on the packets before it alone.
"""

import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from pathlib import Path
from random import Random

from tests.e2e.daemon import Daemon, free_ports
from tests.onions import make_onion

LOOPBACK = "127.0.0.1"
SHARE = 0.05
"""Of the packets, for each kind of fault."""
LATE = 0.3
"""Seconds by which a late packet is late."""
EVIL = make_onion("evil")
"""Where the forged records lead."""

_HEADER = 12
_REPLY = struct.Struct("!6H")
_SRV = struct.Struct("!4HIH3H")
_NAME_AT = _HEADER + 16  # the first letter of the domain, behind _onion-mx._tcp and its length
_MAX_PACKET = 4096
_BUFFER = 4_000_000  # bytes
_Address = tuple[str, int]


class Hostile:
    """The way between a client and a server.

    Args:
        port: on which the client asks.
        upstream: port of the server.
        chance: decides what happens to each packet.
    """

    def __init__(self, port: int, upstream: int, chance: Random) -> None:
        self._front = _udp()
        self._front.bind((LOOPBACK, port))
        self._stranger = _udp()
        self._back = _udp()
        self._back.connect((LOOPBACK, upstream))
        self._chance = chance
        self._asked: dict[int, tuple[bytes, _Address]] = {}
        self._number = 0
        self._late: list[tuple[float, bytes, _Address]] = []

    def run(self) -> None:
        """Pass packets on, for ever."""
        while True:
            readable, _, _ = select.select([self._front, self._back], [], [], 0.02)
            if self._front in readable:
                for packet, address in _received(self._front):
                    self._question(packet, address)
            if self._back in readable:
                for packet, _ in _received(self._back):
                    self._reply(packet)
            while self._late and self._late[0][0] <= time.monotonic():
                _, packet, address = heappop(self._late)
                self._front.sendto(packet, address)

    def _question(self, packet: bytes, address: _Address) -> None:
        if self._happens():
            self._forge(packet, address)
        if self._happens(SHARE / 2):
            return
        self._number = (self._number + 1) % 0x10000
        self._asked[self._number] = packet[:2], address
        self._back.send(self._number.to_bytes(2, "big") + packet[2:])

    def _reply(self, packet: bytes) -> None:
        number, address = self._asked.pop(int.from_bytes(packet[:2], "big"))
        reply = number + packet[2:]
        if self._happens(SHARE / 2):
            return
        if self._happens():
            heappush(self._late, (time.monotonic() + LATE, reply, address))
            return
        self._front.sendto(reply, address)
        if self._happens():
            self._front.sendto(reply, address)

    def _forge(self, packet: bytes, address: _Address) -> None:
        """Send a reply with a wrong id, from a wrong port, for a wrong name, or that is a question; one is enough."""
        number = int.from_bytes(packet[:2], "big")
        question = packet[_HEADER : packet.index(b"\0\0\x21\0\1", _HEADER) + 5]
        flags = 0x8180 | self._chance.choice((0x20, 3))  # with AD, or NXDOMAIN
        sender = self._front
        kind = self._chance.randrange(4)
        if kind == 0:
            number ^= self._chance.randrange(1, 0x10000)
        elif kind == 1:
            sender = self._stranger
        elif kind == 2:
            at = _NAME_AT - _HEADER
            question = question[:at] + b"x" + question[at + 1 :]
        else:
            flags &= 0x7FFF
        host = b"".join(bytes((len(label),)) + label for label in EVIL.encode().split(b".")) + b"\0"
        record = _SRV.pack(0xC00C, 33, 1, 0, 3600, 6 + len(host), 0, 0, 25) + host
        forged = _REPLY.pack(number, flags, 1, 1, 0, 0) + question + record
        if flags & 3:
            soa = b"\0\0\x06\0\1\0\0\x0e\x10\0\x16\0\0" + struct.pack("!5I", 1, 2, 3, 4, 3600)
            forged = _REPLY.pack(number, flags, 1, 0, 1, 0) + question + soa
        sender.sendto(forged, address)

    def _happens(self, share: float = SHARE) -> bool:
        return self._chance.random() < share


@contextmanager
def hostile_way(upstream: int, folder: Path, *, seed: int, core: int | None = None) -> Iterator[int]:
    """Run it in front of a server; gives the port to ask."""
    (port,) = free_ports(1)
    pinned = ["taskset", "--cpu-list", str(core)] if core is not None else []
    command = [*pinned, sys.executable, "-m", "tests.dns.hostile", str(port), str(upstream), str(seed)]
    project = Path(__file__).parent.parent.parent
    with Daemon("hostile", command, folder, {"PYTHONPATH": str(project)}) as daemon:
        daemon.wait_for_log("ready")
        yield port


def _udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    return made


def _received(connection: socket.socket) -> Iterator[tuple[bytes, _Address]]:
    while True:
        try:
            yield connection.recvfrom(_MAX_PACKET)
        except BlockingIOError:
            return
        except ConnectionRefusedError:  # a port that the client has closed meanwhile
            continue


if __name__ == "__main__":
    way = Hostile(int(sys.argv[1]), int(sys.argv[2]), Random(int(sys.argv[3])))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    way.run()
