"""Worker processes that share sockets: started, started again when one ends, told of signals, ended together."""

import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable

from onionmx import systemd
from onionmx.log import fields

_logger = logging.getLogger(__name__)

RESTART_DELAY = 1.0
"""Seconds, so that a worker that fails at once does not take all of a core."""

READY = signal.SIGUSR1
"""A worker sends it to its parent when it serves; systemd hears of it from the main process alone."""

ALIVE = signal.SIGRTMIN
"""A worker sends it to its parent while its loop turns; of these signals none is lost (signal(7))."""

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""What a worker has to handle; they are blocked in it until it has handlers for them."""

_OF_WORKERS = frozenset({signal.SIGCHLD, READY, ALIVE})
_PR_SET_PDEATHSIG = 1


def supervise(
    count: int, work: Callable[[int], None], tell: Callable[[str], None], reload: Callable[[], None] = lambda: None
) -> None:
    """Keep workers running until SIGTERM or SIGINT, which end them all, as SIGHUP reaches them all.

    Call it before there is a loop or a thread: the workers are forked. Signals are not handled but waited for, so that
    none comes at a moment when nobody looks.

    Args:
        work: what a worker does, by its number; the process ends with it.
        tell: tells the service manager that a worker serves, that all of them are reloading, and that all are alive.
        reload: what the parent itself reads again at SIGHUP.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS | _OF_WORKERS)
    workers = _Workers(count, work, tell, reload)
    while workers.running or workers.due:
        workers.handle(*_wait(min(workers.due.values(), default=None)))
        workers.start_what_is_due()


class _Workers:
    """The workers, and what they have said.

    Attributes:
        running: numbers of workers, by their process.
        due: when a worker is started again, by its number.
    """

    def __init__(
        self, count: int, work: Callable[[int], None], tell: Callable[[str], None], reload: Callable[[], None]
    ) -> None:
        self._work = work
        self._tell = tell
        self._reload = reload
        self._is_stopping = False
        self._alive: set[int] = set()
        self.running = {_start(number, work): number for number in range(count)}
        self.due: dict[int, float] = {}

    def handle(self, number: int, sender: int) -> None:
        """Do what a signal asks for.

        Args:
            number: of the signal; 0 for none.
            sender: the process that sent it.
        """
        match number:
            case signal.SIGCHLD:
                self._bury()
            case signal.SIGUSR1:
                self._tell(systemd.READY)
            case signal.SIGHUP if not self._is_stopping:
                self._tell(systemd.reloading())
                self._send(signal.SIGHUP)
                self._reload()
            case signal.SIGTERM | signal.SIGINT:
                self._is_stopping = True
                self.due.clear()
                self._tell(systemd.STOPPING)
                self._send(signal.SIGTERM)
            case _ if number == ALIVE:
                self._alive.add(sender)
                if self._alive >= self.running.keys():
                    self._tell(systemd.WATCHDOG)
                    self._alive.clear()

    def start_what_is_due(self) -> None:
        """Start workers again that ended a while ago."""
        for number in [number for number, when in self.due.items() if when <= time.monotonic()]:
            del self.due[number]
            self.running[_start(number, self._work)] = number

    def _bury(self) -> None:
        """Take out the workers that have ended; one signal may speak for several."""
        for pid in list(self.running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                number = self.running.pop(pid)
                if not self._is_stopping:
                    extra = fields("worker_ended", worker=number, status=status)
                    _logger.error("worker %d ended with status %d, starting it again", number, status, extra=extra)
                    self.due[number] = time.monotonic() + RESTART_DELAY

    def _send(self, number: int) -> None:
        for pid in self.running:
            os.kill(pid, number)


def _wait(until: float | None) -> tuple[int, int]:
    """The next signal and the process that sent it; zeros where the time has come before it."""
    awaited = SIGNALS | _OF_WORKERS
    if until is None:
        found: signal.struct_siginfo | None = signal.sigwaitinfo(awaited)
    else:
        found = signal.sigtimedwait(awaited, max(0.0, until - time.monotonic()))
    return (found.si_signo, found.si_pid) if found else (0, 0)


def _start(number: int, work: Callable[[int], None]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = os.EX_SOFTWARE
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_WORKERS)
        # Workers must not outlive their parent and hold its sockets (prctl(2), PR_SET_PDEATHSIG).
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == parent:
            work(number)
            code = os.EX_OK
    except BaseException:
        _logger.exception("worker %d fails", number)
    finally:
        os._exit(code)
