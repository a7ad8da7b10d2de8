"""Writing a map so that readers see the old one or the new one, never half of one."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path
from tempfile import mkstemp

from cdblib import Writer

from onionmx.errors import LockedError, MapError
from onionmx.mapfile.cdb import MapReader, format_value
from onionmx.mapfile.entries import Entries

MODE = 0o644
"""The map is read by the MTA's own user and holds nothing that DNS does not tell everybody."""
MAX_SIZE = 0xFFFFFFFF  # bytes; positions in a CDB have 32 bits
_BYTES_PER_RECORD = 8 + 2 * 8  # the lengths before it, and two slots of a hash table


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Be the only writer of a map. The kernel gives the lock back when the process ends, however it ends.

    Args:
        path: the map; the lock is a file beside it with `.lock` added to the name.

    Raises:
        LockedError: another writer is at work.
        MapError: the folder cannot be made or is not writable.
    """
    lock_path = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise MapError(f"map {path} cannot be written: {lock_path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"another process is writing {path} (lock {lock_path}); nothing was changed") from error
        yield
    finally:
        os.close(descriptor)


def publish(path: Path, entries: Entries) -> None:
    """Write a map and put it in the place of the old one.

    Args:
        path: where readers expect the map.
        entries: written in their own order.

    Raises:
        MapError: it could not be written; the old map is still in place.
    """
    publish_records(path, ((domain.encode("ascii"), format_value(value)) for domain, value in entries.items()))


def publish_records(path: Path, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Write a CDB of any records and put it in the place of the old one.

    It is read back before it replaces the old one.

    Raises:
        MapError: it could not be written; the old file is still in place.
    """
    try:
        descriptor, name = mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                written = _write(file, path, records)
            _verify(temporary, written)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise MapError(f"map {path} cannot be written: {error.strerror}; the old one stays") from error


def _write(file: BufferedWriter, path: Path, records: Iterable[tuple[bytes, bytes]]) -> int:
    writer = Writer(file)
    count = 0
    for key, value in records:
        count += 1
        if file.tell() + len(key) + len(value) + count * _BYTES_PER_RECORD > MAX_SIZE:
            raise MapError(f"map {path} would be larger than a CDB can be (4 GiB); the old one stays")
        writer.put(key, value)
    writer.finalize()
    file.flush()
    os.fchmod(file.fileno(), MODE)
    os.fsync(file.fileno())
    return count


def _verify(temporary: Path, written: int) -> None:
    with MapReader(temporary) as reader:
        found = sum(reader.get_value(key.decode("utf-8")) == value for key, value in reader.records())
    if found != written:
        raise MapError(f"map {temporary}: only {found} of {written} entries can be read back; the old map stays")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable (fsync(2): a file's own fsync does not cover its directory entry)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
