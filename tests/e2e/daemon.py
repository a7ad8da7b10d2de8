"""Run one daemon for a test: free ports, start, wait for an event, stop, and nothing left behind."""

import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from .programs import find_program

POLL_INTERVAL = 0.02
"""Seconds between two looks at a condition that nothing announces."""
START_TIMEOUT = 120.0
"""Seconds a daemon gets to become ready; the slowest need about two on an idle machine."""
STOP_TIMEOUT = 30.0
"""Seconds between SIGTERM and SIGKILL."""
LOG_TAIL_LINES = 30

PORTS = range(11_000, 32_000)
"""Below the kernel's ephemeral range, or an outgoing connection could take a port before its daemon does, and above the
ports that onionmx and tor listen on by default."""
BLOCK = 100
"""Ports that one process has for itself."""

_claims: list[socket.socket] = []
_ours: list[int] = []


class DaemonError(RuntimeError):
    """A daemon did not do what the test waits for."""


def free_ports(count: int, hosts: Sequence[str] = ("127.0.0.1", "127.0.0.2")) -> list[int]:
    """Return ports in a row that nothing uses for TCP or UDP on any of the hosts, each given out only once.

    No other process that runs tests gets one of them, or looks whether it is free while a daemon takes it.
    """
    while True:
        if len(_ours) < count:
            _ours[:] = _claim_block()
        found, _ours[:count] = _ours[:count], []
        if all(_is_free(port, hosts) for port in found):
            return found


def _claim_block() -> range:
    """Ports that are of this process until it ends: an abstract socket is in the same network namespace as they are."""
    blocks = [PORTS[first : first + BLOCK] for first in range(0, len(PORTS), BLOCK)]
    for block in random.sample(blocks, len(blocks)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0onionmx-tests-{block.start}")
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            return block
    raise DaemonError(f"no ports are free from {PORTS.start} to {PORTS.stop}")


def _is_free(port: int, hosts: Sequence[str]) -> bool:
    with ExitStack() as sockets:
        for host in hosts:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                probe = sockets.enter_context(socket.socket(socket.AF_INET, kind))
                try:
                    probe.bind((host, port))
                except OSError:
                    return False
    return True


def answers(host: str, port: int) -> bool:
    """Tell whether something accepts TCP connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], what: str, timeout: float = START_TIMEOUT) -> None:
    """Look at a condition until it holds; ``what`` names it in the error when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise DaemonError(f"not within {timeout:g} s: {what}")
        time.sleep(POLL_INTERVAL)


class Daemon:
    """One daemon in the foreground, with its output in ``NAME.log`` in its folder.

    It runs in a process group of its own and dies with this process even when that is killed. What the kernel
    watches is the thread that called start() (prctl(2), PR_SET_PDEATHSIG): call it from one that lives on.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        """Take the command (program and arguments) and the folder it runs in, which must exist.

        ``env`` is added to the environment of this process.
        """
        self.name = name
        self.command = [str(argument) for argument in command]
        self.folder = folder
        self.env = dict(os.environ) | dict(env or {})
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> Self:
        """Start it without waiting for anything."""
        if self.running:
            raise DaemonError(f"{self.name} runs already")
        tied_to_parent = [str(find_program("setpriv")), "--pdeathsig", "KILL", "--", *self.command]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                tied_to_parent,
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the process that has ended; `None` while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        """The process id of the running daemon."""
        if self._process is None:
            raise DaemonError(f"{self.name} is not started")
        return self._process.pid

    def log_text(self) -> str:
        """Return what it has written since the last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def log_tail(self) -> str:
        """Return the last lines of its log, under a heading."""
        lines = self.log_text().splitlines()[-LOG_TAIL_LINES:] if self.log.exists() else []
        return "\n".join([f"--- last lines of {self.log} ---", *(lines or ["(empty)"])])

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = START_TIMEOUT) -> None:
        """Wait for a condition; fail with the end of its log if it ends first or time is over."""
        try:
            wait_until(lambda: condition() or not self.running, what, timeout)
        except DaemonError as error:
            raise DaemonError(f"{self.name}: {error}\n{self.log_tail()}") from None
        if not condition():
            raise DaemonError(f"{self.name} ended before: {what}\n{self.log_tail()}")

    def wait_for_log(self, pattern: str, timeout: float = START_TIMEOUT) -> re.Match[str]:
        """Wait until its log, since the last start, holds the regular expression; return the first match."""
        expression = re.compile(pattern, re.MULTILINE)
        matches: list[re.Match[str]] = []

        def found() -> bool:
            matches.extend(expression.finditer(self.log_text()))
            return bool(matches)

        self.wait_until(found, f"{pattern!r} in its log", timeout)
        return matches[0]

    def wait_for_port(self, host: str, port: int, timeout: float = START_TIMEOUT) -> None:
        """Wait until it accepts TCP connections there."""
        self.wait_until(lambda: answers(host, port), f"a connection to {host}:{port}", timeout)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the daemon."""
        os.kill(self.pid, number)

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once, to stop several daemons together; stop() must follow."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """End it and its children: SIGTERM, then SIGKILL. Do nothing when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout)
        # What is left of its group: the daemon itself if it is stuck, or children that outlived it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def __enter__(self) -> Self:
        """Start it, unless it runs already."""
        return self if self.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()
