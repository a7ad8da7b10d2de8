"""Sending questions and receiving replies, and nothing else: what no asker in Python can beat.

All packets are made before, no reply is looked at, and there is one port. `python -m tests.bench.bulk_bare PORT COUNT`
runs it, and prints seconds.
"""

import socket
import subprocess
import sys
import time
from select import POLLIN, poll

from onionmx.dns.wire import ask_for, make_query
from tests.bench.bulk_load import DOMAIN
from tests.bench.relay_control import LOOPBACK
from tests.e2e.programs import PROJECT

_WINDOW = 60  # questions under way: fewer than the buffer of a socket holds, so that none is lost
_PATIENCE = 1000  # milliseconds
_MAX_PACKET = 4096


def run(port: int, count: int, core: int) -> float:
    """Ask so many questions in a process of its own; the result is in questions a second.

    Args:
        port: of the server.
        count: of questions.
        core: for the process.
    """
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "tests.bench.bulk_bare", str(port), str(count)]
    seconds = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=PROJECT).stdout
    return count / float(seconds)


def _ask(port: int, packets: list[bytes]) -> None:
    count = len(packets)
    sent = heard = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as connection:
        connection.connect((LOOPBACK, port))
        waiting = poll()
        waiting.register(connection, POLLIN)
        send, receive = connection.send, connection.recv
        while heard < count:
            if sent - heard <= _WINDOW // 2:
                for packet in packets[sent : heard + _WINDOW]:
                    send(packet)
                sent = min(heard + _WINDOW, count)
            try:
                for _ in range(sent - heard):
                    receive(_MAX_PACKET)
                    heard += 1
            except BlockingIOError:
                if not waiting.poll(_PATIENCE):
                    raise TimeoutError(f"{sent - heard} replies were lost") from None


if __name__ == "__main__":
    ready = [make_query(number % 0x10000, ask_for(DOMAIN.format(number))) for number in range(int(sys.argv[2]))]
    begin = time.perf_counter()
    _ask(int(sys.argv[1]), ready)
    print(time.perf_counter() - begin)
