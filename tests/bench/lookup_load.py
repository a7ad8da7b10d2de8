"""Asking like Postfix: on each connection one lookup at a time, the next when the answer to the last is there.

It runs as a process on a core of its own. Its loop does nothing but send and receive, so that it is not what limits
the rate.
"""

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice

from tests.bench.relay_control import LOOPBACK, TIMEOUT
from tests.e2e.programs import PROJECT

DOMAIN = "d{}.bench.test"
"""The domains of this bench, by number."""
_BUFFER = 65536


@dataclass(frozen=True)
class Load:
    """Lookups to be made.

    Attributes:
        port: of the server, on loopback.
        protocol: a key of `PROTOCOLS`.
        connections: at the same time.
        count: of lookups that are timed.
        first: number of the first domain.
        domains: how many in a row, again from the first one after the last.
        expected: how each answer begins.
    """

    port: int
    protocol: str
    connections: int
    count: int
    first: int
    domains: int
    expected: str


@dataclass(frozen=True)
class Protocol:
    """How a lookup is written, and the last byte of its answer."""

    question: Callable[[str], bytes]
    end: bytes


def _netstring(key: str) -> bytes:
    request = f"onionmx {key}".encode()
    return b"%d:%b," % (len(request), request)


PROTOCOLS = {
    "socketmap": Protocol(_netstring, b","),
    "tcp_table": Protocol(lambda key: f"get {key}\n".encode(), b"\n"),
}


def run(load: Load, core: int) -> float:
    """Make these lookups from that core in a process of its own.

    Returns:
        Lookups a second.

    Raises:
        subprocess.CalledProcessError: an answer was not as expected, or did not come.
    """
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "tests.bench.lookup_load"]
    output = subprocess.run(
        [*command, json.dumps(asdict(load))], cwd=PROJECT, stdout=subprocess.PIPE, check=True, timeout=TIMEOUT
    ).stdout
    return load.count / float(output)


def ask(load: Load) -> float:
    """Make these lookups here; return the seconds."""
    protocol = PROTOCOLS[load.protocol]
    numbers = range(load.first, load.first + load.domains)
    questions = [protocol.question(_address(number)) for number in numbers]
    expected = load.expected.encode()
    connections = []
    for _ in range(load.connections):
        # Without a time limit, which `run` has: Python would call poll() before each send() and recv().
        connection = socket.create_connection((LOOPBACK, load.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # One after the other: a server with a short queue would let the others wait for a second.
        _in_turn(connection, iter([protocol.question(_address(0))]), protocol.end, expected)
        connections.append(connection)
    pending = islice(cycle(questions), load.count)
    start = time.perf_counter()
    if load.connections == 1:
        _in_turn(connections[0], pending, protocol.end, expected)
    else:
        _at_once(connections, pending, protocol.end, expected)
    seconds = time.perf_counter() - start
    for connection in connections:
        connection.close()
    return seconds


def _address(number: int) -> str:
    return f"user@{DOMAIN.format(number)}"


def _in_turn(connection: socket.socket, questions: Iterator[bytes], end: bytes, expected: bytes) -> None:
    """One connection, without a selector, as a program that has only this one waits."""
    send, receive = connection.sendall, connection.recv
    for question in questions:
        send(question)
        answer = receive(_BUFFER)
        while answer[-1:] != end:
            answer = _more(answer, receive(_BUFFER))
        if not answer.startswith(expected):
            raise AssertionError(f"{question!r} was answered {answer!r}, expected {expected!r}")


def _at_once(connections: list[socket.socket], questions: Iterator[bytes], end: bytes, expected: bytes) -> None:
    """Many connections, each with a lookup under way until there are none left."""
    poll = select.epoll()
    by_number = {}
    for connection in connections:
        poll.register(connection, select.EPOLLIN)
        by_number[connection.fileno()] = connection.send, connection.recv
    begun: dict[int, bytes] = {}
    waiting = 0
    for connection, question in zip(connections, questions, strict=False):
        connection.send(question)
        waiting += 1
    while waiting:
        for number, _ in poll.poll(TIMEOUT):
            send, receive = by_number[number]
            answer = receive(_BUFFER)
            if begun:
                answer = begun.pop(number, b"") + answer
            if answer[-1:] != end:
                begun[number] = _more(b"", answer)
                continue
            if not answer.startswith(expected):
                raise AssertionError(f"answered {answer!r}, expected {expected!r}")
            question = next(questions, b"")
            if question:
                send(question)
            else:
                waiting -= 1
    poll.close()


def _more(answer: bytes, rest: bytes) -> bytes:
    if not rest:
        raise AssertionError(f"closed after {answer!r}")
    return answer + rest


if __name__ == "__main__":
    print(ask(Load(**json.loads(sys.argv[1]))))
