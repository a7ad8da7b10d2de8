"""Files of which no reader may see half, and files that nobody but their owner may read."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, BufferedWriter
from pathlib import Path
from tempfile import mkstemp

from onionmx.errors import ConfigurationError, LockedError

MOST_READ = 1 << 30
"""Bytes of a list or another text: 40 million domains."""
_MAX_SIZE = 65536  # bytes; a password or a key takes about a hundred
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"
"""Environment variable with the folder of the credentials that systemd gives to a unit (systemd.exec(5))."""


class NotRegularError(OSError):
    """A FIFO, a device or something else that is no file and no folder."""


@contextmanager
def replacing(path: Path, mode: int, verify: Callable[[Path], None] | None = None) -> Iterator[BufferedWriter]:
    """Write a file that takes the place of the old one at the end, if nothing was raised before.

    Readers see the old one or the new one, never half of one, whenever the power fails.

    Args:
        path: the file; its folder must exist.
        mode: permissions of the new file.
        verify: looks at the new file before it takes the place, and raises what it finds wrong.

    Yields:
        A temporary file in the same folder.

    Raises:
        OSError: it could not be written; the old file is still in place.
    """
    descriptor, name = mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if verify:
            verify(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def creating(path: Path) -> Iterator[BufferedWriter]:
    """Write a new file that nobody but its owner can read; it is removed if the body raises.

    Args:
        path: the file; its folder must exist.

    Yields:
        The empty file.

    Raises:
        FileExistsError: there is one already, which stays as it is.
        OSError: it could not be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def locked(path: Path, mode: int) -> Iterator[None]:
    """Let other processes wait that write to the same file, for the milliseconds that it takes.

    Args:
        path: the file; the lock is a file beside it.
        mode: permissions of the lock.

    Raises:
        OSError: the lock cannot be opened.
    """
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def alone(descriptor: int, otherwise: str) -> Iterator[None]:
    """Hold the lock of an open file, which is closed at the end; the kernel gives it back when the process ends.

    Args:
        descriptor: of the file.
        otherwise: what to say while another process has the lock.

    Raises:
        LockedError: one has.
    """
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(otherwise) from error
        yield
    finally:
        os.close(descriptor)


def is_missing(path: Path) -> bool:
    """Whether nothing is at a path. A file in a folder that may not be searched is not missing, it is not known.

    Raises:
        ConfigurationError: it cannot be told.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be looked at: {error.strerror}") from error
    return False


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading, if it is one.

    In a folder of another user there may be a FIFO, in which reading never begins, or a link to a device, in which it
    never ends, or which does something as soon as it is opened.

    Args:
        path: the file; links are followed.

    Raises:
        OSError: it cannot be opened, or is something else.
    """
    _check_regular(path.stat())
    # Non-blocking, as it may be another one by now.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check_regular(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, most: int = MOST_READ) -> bytes:
    """Read a file that another user may have put there.

    Args:
        path: the file; links are followed.
        most: bytes.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes")
    return content


def read_configured(path: Path, what: str, *, may_be_missing: bool = False) -> bytes:
    """Read a file that the configuration names.

    Args:
        what: its name in messages, such as "local.file".
        may_be_missing: a file that is not there is an empty one.

    Raises:
        ConfigurationError: it cannot be read, or is not there.
    """
    try:
        return read_regular(path)
    except OSError as error:
        if may_be_missing and isinstance(error, FileNotFoundError):
            return b""
        raise ConfigurationError(f"{what} {path} cannot be read: {error.strerror}") from error


def read_secret(path: Path, what: str) -> bytes:
    """Read a secret.

    Args:
        what: its name in messages, such as "the password".

    Raises:
        ConfigurationError: it cannot be read, others may read it, or it is too large to be one.
        FileNotFoundError: it is not there.
    """
    try:
        # The mode of what was opened, not of what is at the path by then.
        with open_regular(path) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & (_OTHERS & ~_shown_of_acl(path)):
                raise ConfigurationError(f"{what} {path} has mode {mode:04o}: it is a secret, chmod 0600 it")
            content = file.read(_MAX_SIZE + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigurationError(f"{what} {path} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_SIZE:
        raise ConfigurationError(f"{what} {path} is larger than {_MAX_SIZE} bytes: this is another file")
    return content


def _shown_of_acl(path: Path) -> int:
    """The bits of a mode that say nothing about others.

    Where the file system has access lists, systemd leaves the credentials of a unit to root and gives its user an entry
    of his own; the bits of the group are the mask of that list then (acl(5)), and nobody else can open the folder.
    """
    folder = os.environ.get(CREDENTIALS_DIRECTORY)
    return stat.S_IRGRP if folder and path.parent == Path(folder) else 0


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError(errno.EINVAL, "it is no regular file")


def sync_folder(folder: Path) -> None:
    """Make the rename itself durable (fsync(2): a file's own fsync does not cover its directory entry)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
