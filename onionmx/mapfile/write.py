"""Writing a map so that readers see the old one or the new one, never half of one."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path
from struct import Struct
from zlib import crc32

from cdblib import Writer

from onionmx.errors import MapError
from onionmx.files import alone, replacing
from onionmx.mapfile.cdb import MapReader, format_value
from onionmx.mapfile.checksum import SIZE, TABLES, Checksums, crc_of
from onionmx.mapfile.entries import Entries

MODE = 0o644
"""The map is read by the MTA's own user and holds nothing that DNS does not tell everybody."""
MAX_SIZE = 0xFFFFFFFF  # bytes; positions in a CDB have 32 bits
_TABLE = Struct("<II")  # position in bytes, length in slots
_SLOT = 8  # bytes
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
    lock_path = _lock_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise MapError(f"map {path} cannot be written: {lock_path}: {error.strerror}") from error
    with alone(descriptor, f"another process is writing {path} (lock {lock_path}); nothing was changed"):
        yield


def mark_checked(path: Path) -> None:
    """Note that the map is right as it is now, also where nothing had to be written.

    The mark is the time of the lock file: a map that did not change keeps its own.

    Raises:
        MapError: it cannot be noted.
    """
    try:
        _lock_of(path).touch()
    except OSError as error:
        raise MapError(f"map {path}: {_lock_of(path)} cannot be marked: {error.strerror}") from error


def last_checked(path: Path) -> float:
    """When a map was last written or found right, in seconds since 1970.

    Raises:
        OSError: there is no map.
    """
    lock = _lock_of(path)
    return max(path.stat().st_mtime, lock.stat().st_mtime if lock.exists() else 0.0)


def publish(path: Path, entries: Entries) -> None:
    """Write a map that replaces the old one.

    Args:
        path: where readers expect the map.
        entries: written in their own order.

    Raises:
        MapError: it could not be written; the old map is still in place.
    """
    publish_records(path, ((domain.encode("ascii"), format_value(value)) for domain, value in entries.items()))


def publish_records(path: Path, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Write a CDB of any records that replaces the old one.

    It is read back before it replaces the old one.

    Raises:
        MapError: it could not be written; the old file is still in place.
    """
    written = 0

    def verify(temporary: Path) -> None:
        _verify(temporary, written)

    try:
        with replacing(path, MODE, verify) as file:
            written = _write(file, path, records)
    except OSError as error:
        raise MapError(f"map {path} cannot be written: {error.strerror}; the old one stays") from error


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _write(file: BufferedWriter, path: Path, records: Iterable[tuple[bytes, bytes]]) -> int:
    writer = Writer(file)
    count = 0
    size = file.tell()
    for key, value in records:
        count += 1
        size += len(key) + len(value) + _BYTES_PER_RECORD
        if size + SIZE > MAX_SIZE:
            raise MapError(f"map {path} would be larger than a CDB can be (4 GiB); the old one stays")
        writer.put(key, value)
    writer.finalize()
    _add_checksums(file)
    return count


def _add_checksums(file: BufferedWriter) -> None:
    file.flush()
    descriptor = file.fileno()
    size = file.seek(0, os.SEEK_END)
    header = os.pread(descriptor, _TABLE.size * TABLES, 0)
    tables = [crc32(os.pread(descriptor, length * _SLOT, place)) for place, length in _TABLE.iter_unpack(header)]
    whole = crc_of(lambda place, count: os.pread(descriptor, count, place), size)
    file.write(Checksums(crc32(header), tables, whole).encode())


def _verify(temporary: Path, written: int) -> None:
    with MapReader(temporary) as reader:
        reader.check_whole()
        found = reader.count_found()
    if found != written:
        raise MapError(f"map {temporary}: only {found} of {written} entries can be read back; the old map stays")
