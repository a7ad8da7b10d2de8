"""A stand-in for systemd's socket activation (sd_listen_fds(3)): it holds the sockets, and restarts at SIGHUP.

Run as `python -m tests.e2e.service_manager NAME=PORT... -- COMMAND...`.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from queue import SimpleQueue

from .relay import LOOPBACK

_FIRST_DESCRIPTOR = 3
_BACKLOG = 1024


def _start(command: Sequence[str], names: Sequence[str]) -> "subprocess.Popen[bytes]":
    descriptors = range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + len(names))
    environment = dict(os.environ) | {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
    # The number of the process is known only inside it.
    with_number = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *command]
    return subprocess.Popen(with_number, env=environment, pass_fds=descriptors)


def main(arguments: Sequence[str]) -> None:
    """Run until SIGTERM."""
    end = arguments.index("--")
    sockets = [argument.partition("=") for argument in arguments[:end]]
    for number, (_, _, port) in enumerate(sockets, _FIRST_DESCRIPTOR):
        with socket.create_server((LOOPBACK, int(port)), backlog=_BACKLOG) as bound:
            if bound.fileno() == number:
                bound.detach()
            else:
                os.dup2(bound.fileno(), number)
    signals: SimpleQueue[int] = SimpleQueue()
    for wanted in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(wanted, lambda number, _: signals.put(number))
    names = [name for name, _, _ in sockets]
    while True:
        service = _start(arguments[end + 1 :], names)
        number = signals.get()
        service.terminate()
        service.wait()
        if number == signal.SIGTERM:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
