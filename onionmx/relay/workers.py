"""Worker processes that share sockets: started, started again when one ends, told of signals, ended together."""

import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable

_logger = logging.getLogger(__name__)

RESTART_DELAY = 1.0
"""Seconds, so that a worker that fails at once does not take all of a core."""

READY = signal.SIGUSR1
"""A worker sends it to its parent when it serves; systemd hears of it from the main process alone."""

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""What a worker has to handle; they are blocked in it until it calls `take_signals`."""

_OF_WORKERS = frozenset({signal.SIGCHLD, READY})
_PR_SET_PDEATHSIG = 1


def supervise(count: int, work: Callable[[int], None], on_ready: Callable[[], None]) -> None:
    """Keep workers running until SIGTERM or SIGINT, which end them all, as SIGHUP reaches them all.

    Call it before there is a loop or a thread: the workers are forked. Signals are not handled but waited for, so that
    none comes at a moment when nobody looks.

    Args:
        count: how many.
        work: what a worker does, by its number; the process ends with it.
        on_ready: called when a worker has sent `READY`, once for those that did so at the same time.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS | _OF_WORKERS)
    workers = {_start(number, work): number for number in range(count)}
    due: dict[int, float] = {}  # workers to be started again, and when
    stopping = False
    while workers or due:
        match _wait(min(due.values(), default=None)):
            case signal.SIGCHLD:
                for number, status in _ended(workers):
                    if not stopping:
                        _logger.error("worker %d ended with status %d, starting it again", number, status)
                        due[number] = time.monotonic() + RESTART_DELAY
            case signal.SIGUSR1:
                on_ready()
            case signal.SIGHUP:
                _tell(workers, signal.SIGHUP)
            case signal.SIGTERM | signal.SIGINT:
                stopping = True
                due.clear()
                _tell(workers, signal.SIGTERM)
        for number in [number for number, when in due.items() if when <= time.monotonic()]:
            del due[number]
            workers[_start(number, work)] = number


def take_signals() -> None:
    """Let the signals in that were blocked until there are handlers for them; those that came meanwhile come now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _wait(until: float | None) -> int | None:
    """The next signal; `None` where the time has come before it."""
    awaited = SIGNALS | _OF_WORKERS
    if until is None:
        return signal.sigwait(awaited)
    found = signal.sigtimedwait(awaited, max(0.0, until - time.monotonic()))
    return found.si_signo if found else None


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


def _ended(workers: dict[int, int]) -> list[tuple[int, int]]:
    """The workers that have ended, with their status; they are taken out. One signal may speak for several."""
    found = []
    for pid in list(workers):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            found.append((workers.pop(pid), status))
    return found


def _tell(workers: dict[int, int], number: int) -> None:
    for pid in workers:
        os.kill(pid, number)
