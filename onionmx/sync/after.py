"""The command that runs when the map has changed (`sync.after`), and the note that it is due.

The note is beside the map from before the first file is replaced until the command has succeeded. So whatever moment a
run ends at, and however often the command fails, a later run has it run again.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import FrameType

from onionmx.errors import ConfigurationError, LockedError, MapError
from onionmx.files import is_missing, read_regular, replacing
from onionmx.mapfile.write import MODE, writer_lock
from onionmx.text import escaped

TIME_LIMIT = 60.0
"""Seconds for the command."""
_MOST_SAID = 4096  # bytes of the standard error that are kept
_MOST_SHOWN = 300  # characters


def note_path(map_path: Path) -> Path:
    """Where it is noted that the command is due."""
    return map_path.with_name(f"{map_path.name}.after")


def mark_due(map_path: Path) -> None:
    """Note that the command is due, before map or exports change.

    Raises:
        MapError: it cannot be noted; nothing was changed.
    """
    try:
        _write_note(map_path, "")
    except OSError as error:
        raise MapError(f"{note_path(map_path)} cannot be written: {error.strerror}; the old map stays") from error


def why_due(map_path: Path) -> str | None:
    """Why the command failed last; empty where it has not run since it became due, `None` where it is not due.

    Raises:
        ConfigurationError: it cannot be told.
    """
    path = note_path(map_path)
    if is_missing(path):
        return None
    try:
        return escaped(read_regular(path, _MOST_SAID).decode(errors="replace").strip())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def run_after(map_path: Path, command: Sequence[str]) -> str:
    """Run the command if it is due; one at a time, and not while another process writes the map.

    Args:
        command: the program and its arguments; empty for none.

    Returns:
        What went wrong, on one line; empty where nothing did.
    """
    if not command:
        return ""
    try:
        with writer_lock(map_path):
            if is_missing(note_path(map_path)):
                return ""
            signals = _Signals()
            with signals.heeded():
                failure = _run(command, signals)
            if failure:
                _write_note(map_path, failure)
            else:
                note_path(map_path).unlink(missing_ok=True)
    except LockedError:  # that process finds the note
        return ""
    except OSError as error:
        return f"sync.after: {note_path(map_path)}: {error.strerror}"
    except (MapError, ConfigurationError) as error:
        return f"sync.after: {error}"
    return f"sync.after: {failure}; the next sync runs it again" if failure else ""


def _write_note(map_path: Path, failure: str) -> None:
    with replacing(note_path(map_path), MODE) as file:
        file.write(failure.encode(errors="replace"))


class _Signals:
    """Signals that end this process raise, as SIGINT does: else the command outlives it and its time limit.

    While the command is being started they are held back, as nobody knows its process yet.
    """

    def __init__(self) -> None:
        self._are_held = True
        self._came = 0

    def release(self) -> None:
        """Raise from here on, and for the one that has come."""
        self._are_held = False
        if self._came:
            self._end(self._came, None)

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Heed those that this process does not ignore."""
        numbers = [
            number
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
            if signal.getsignal(number) != signal.SIG_IGN
        ]
        former = [(number, signal.signal(number, self._end)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in former:
                signal.signal(number, handler)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        if self._are_held:
            self._came = self._came or number
            return
        self._are_held = True  # one is enough: another must not stop what ends the command
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)  # as a shell says it


def _run(command: Sequence[str], signals: _Signals) -> str:
    """Why it failed; empty for success."""
    program = command[0]
    errors, its_errors = os.pipe()
    with os.fdopen(errors, "rb", buffering=0) as said:
        os.set_blocking(errors, False)
        try:
            process = subprocess.Popen(  # noqa: S603 -- no shell; the words are the administrator's
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=its_errors,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            signals.release()
            return f"{program} cannot be run: {error.strerror}"
        finally:
            os.close(its_errors)
        try:
            signals.release()
            words = _wait(process.pid, said)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if words is None:
        return f"{program} has not ended within {TIME_LIMIT:g} s, and was ended"
    if not process.returncode:
        return ""
    ended = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
    first = next((line.strip() for line in words.decode(errors="replace").splitlines() if line.strip()), "")
    return f"{program}: {ended}: {escaped(first)[:_MOST_SHOWN]}" if first else f"{program}: {ended}"


def _wait(pid: int, errors: FileIO) -> bytes | None:
    """What a child says on its standard error until it ends; `None` where it does not end in time.

    What it has started and left behind may keep the standard error open: that is not waited for.
    """
    deadline = time.monotonic() + TIME_LIMIT
    said = b""
    ended = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(errors, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                ready = {key.fileobj for key, _ in selector.select(left)}
                if errors in ready:
                    chunk = errors.read(_MOST_SAID)
                    said = (said + (chunk or b""))[:_MOST_SAID]
                    if not chunk:
                        selector.unregister(errors)
                if ended in ready:
                    return said
    finally:
        os.close(ended)
    return None
