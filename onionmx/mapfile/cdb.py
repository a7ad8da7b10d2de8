"""Reading the map: a CDB (https://cr.yp.to/cdb/cdb.txt) from domains to endpoints.

Key: the domain in normal form. Value: endpoints in route order, joined by one space, the port left out where it
is 25; or `could-not-tell.onion` alone, whose domain has to wait. Neither has a terminator. Behind it are checksums
(`checksum.py`), which other writers leave out.

The route helper loads this module for each message: it imports next to nothing, and a lookup touches a few pages.
"""

from __future__ import annotations

import os
from struct import Struct
from struct import error as struct_error
from zlib import crc32

from cdblib import Reader

from onionmx.errors import MapError, MissingMapError, OnionError
from onionmx.mapfile.checksum import CHUNK, SIZE, TABLES, crc_of, decode
from onionmx.onion import DEFAULT_PORT, Endpoint, format_endpoint, parse_endpoint

TYPE_CHECKING = False  # typing itself would cost the route helper 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from onionmx.domain import Domain
    from onionmx.mapfile.checksum import Checksums

COULD_NOT_TELL = "could-not-tell.onion"
"""The value of a domain of which it is not known whether its mail goes to the onion that its record names.

It is no valid onion: a program that does not know it hands it to tor, which fails, and never to another DNS.
"""
DEFERS: tuple[Endpoint, ...] = ((COULD_NOT_TELL, DEFAULT_PORT),)
"""How `parse_value` and `format_value` say so; no pin, list or record can have this endpoint."""
DEFERS_WHY = "its record names an onion MX, and what the domain demands of it could not be found out yet: mail waits"
"""Why, in words that follow the domain."""

_HEADER = Struct("<512I")  # 256 hash tables: position in bytes, length in slots
_PAIR = Struct("<II")  # of a slot: hash and position of the record; of a record: lengths of key and value
_OUTSIDE = "a hash table points outside the file"
_WRONG_SUM = "its checksum does not fit its content"
_DAMAGED = "it is damaged or not a CDB; move it away and run `onionmx sync`"


def parse_value(value: bytes) -> tuple[Endpoint, ...]:
    """Read the value of a map entry; `DEFERS` where the domain has to wait.

    Raises:
        OnionError: empty, or one of its endpoints cannot be used.
    """
    try:
        text = value.decode("ascii")
    except UnicodeDecodeError as error:
        raise OnionError(f"value {value[:80]!r} is not ASCII") from error
    if text == COULD_NOT_TELL:
        return DEFERS
    if not text:
        raise OnionError("the value is empty: expected at least one onion")
    return tuple(parse_endpoint(word) for word in text.split(" "))


def format_value(endpoints: Iterable[Endpoint]) -> bytes:
    """Write the value of a map entry."""
    return " ".join(map(format_endpoint, endpoints)).encode("ascii")


class MapReader:
    """An open map. Only the parts that a lookup needs are read, and checked each time.

    A writer replaces the file by rename, so an open map stays what it was when it was opened. One that is rewritten in
    place against the rules is damaged, and no more than that.

    Attributes:
        path: the CDB.
        has_checksums: whether onionmx wrote it; damage to a map of another writer can go unnoticed.

    Raises:
        MapError: missing, unreadable, truncated, or not a CDB.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._file = _File(self.path)
        try:
            self._checksums = self._check_header()
            self._cdb = Reader(self._file)
        except BaseException:
            self._file.close()
            raise
        self.has_checksums = self._checksums is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        """Number of entries, read from the header."""
        return len(self._cdb)

    def get_value(self, domain: Domain) -> bytes | None:
        """The value of a domain as it is in the file, or `None` where the map has no entry for it.

        Raises:
            MapError: the part of the map where the entry would be is damaged.
        """
        key, hashed = self._cdb.hash_key(domain.encode("utf-8"))
        for position in _positions(self._table(hashed & 0xFF), hashed):
            found, value = self._record(position)
            if found == key:
                return value
            if self._cdb.hash_key(found)[1] != hashed:
                raise self._damaged(f"the key of the record at byte {position} does not belong there")
        return None

    def check_whole(self) -> None:
        """Compare the whole file with its checksum, where it has one.

        Raises:
            MapError: they differ.
        """
        if self._checksums is None:
            return
        if crc_of(self._file.read, len(self._file) - SIZE) != self._checksums.whole:
            raise self._damaged(_WRONG_SUM)

    def get(self, domain: Domain) -> tuple[Endpoint, ...] | None:
        """Endpoints of a domain in route order, `DEFERS`, or `None` where the map has no entry for it.

        Raises:
            MapError: the entry, or the part of the map where it would be, is damaged.
        """
        value = self.get_value(domain)
        if value is None:
            return None
        try:
            return parse_value(value)
        except OnionError as error:
            raise self._damaged(f"entry {domain}: {error}") from error

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values as they are in the file, in the order in which they were written.

        Raises:
            MapError: a record does not fit into the file.
        """
        end: int = self._cdb.table_start
        start = position = _HEADER.size
        chunk = b""
        while position < end:
            if position + _PAIR.size > end:
                raise self._damaged(f"a record at byte {position} is cut off")
            if position + _PAIR.size > start + len(chunk):
                start, chunk = position, self._file.read(position, CHUNK)
            try:
                key_length, value_length = _PAIR.unpack_from(chunk, position - start)
            except struct_error as error:
                raise self._damaged(_OUTSIDE) from error
            following = position + _PAIR.size + key_length + value_length
            if following > end:
                raise self._damaged(f"the record that ends at byte {following} is cut off")
            if following > start + len(chunk):
                start, chunk = position, self._file.read(position, max(CHUNK, following - position))
            middle = following - value_length - start
            yield chunk[middle - key_length : middle], chunk[middle : following - start]
            position = following

    def count_found(self) -> int:
        """How many records a search for their keys leads to.

        Raises:
            MapError: the map is damaged.
        """
        found = 0
        position = _HEADER.size
        tables = [self._table(number) for number in range(TABLES)]
        for key, value in self.records():
            _, hashed = self._cdb.hash_key(key)
            found += position in _positions(tables[hashed & 0xFF], hashed)
            position += _PAIR.size + len(key) + len(value)
        return found

    def entries(self) -> Iterator[tuple[str, tuple[Endpoint, ...]]]:
        """All domains with their endpoints or `DEFERS`, in the order in which they were written.

        Raises:
            MapError: the map is damaged.
        """
        for key, value in self.records():
            try:
                yield key.decode("ascii"), parse_value(value)
            except (UnicodeDecodeError, OnionError) as error:
                raise self._damaged(f"entry {key[:80]!r}: {error}") from error

    def _check_header(self) -> Checksums | None:
        """Every writer lays the tables out one behind the other; behind the last one is nothing, or the checksums.

        A truncated or foreign file fails here, before anything in it is believed.
        """
        header = _HEADER.unpack(self._file.header)
        end = header[0]
        if end < _HEADER.size:
            raise self._damaged("its first hash table lies inside the header")
        for position, length in zip(header[::2], header[1::2], strict=True):
            if position != end:
                raise self._damaged("its hash tables do not follow each other")
            end += length * _PAIR.size
        if end == len(self._file):
            return None
        if end + SIZE != len(self._file):
            raise self._damaged(f"its header speaks of {end} bytes, the file has {len(self._file)}")
        checksums = decode(self._file.read(end, SIZE))
        if checksums is None or crc32(self._file.header) != checksums.header:
            raise self._damaged(_WRONG_SUM)
        return checksums

    def _table(self, number: int) -> bytes:
        """A hash table, checked. A search ends at an empty slot: without one, it would go on for ever."""
        position, length = self._cdb.index[number]
        table = self._file.read(position, length * _PAIR.size)
        if len(table) != length * _PAIR.size:
            raise self._damaged(_OUTSIDE)
        if self._checksums is not None:
            if crc32(table) != self._checksums.tables[number]:
                raise self._damaged(_WRONG_SUM)
        elif length and all(record for _, record in _PAIR.iter_unpack(table)):
            raise self._damaged("a hash table is full")
        return table

    def _record(self, position: int) -> tuple[bytes, bytes]:
        lengths = self._file.read(position, _PAIR.size)
        try:
            key_length, value_length = _PAIR.unpack(lengths)
        except struct_error as error:
            raise self._damaged(_OUTSIDE) from error
        if position + _PAIR.size + key_length + value_length > self._cdb.table_start:
            raise self._damaged(f"the record at byte {position} is cut off")
        record = self._file.read(position + _PAIR.size, key_length + value_length)
        return record[:key_length], record[key_length:]

    def _damaged(self, what: str) -> MapError:
        return MapError(f"map {self.path}: {what}; {_DAMAGED}")


def _positions(table: bytes, hashed: int) -> Iterator[int]:
    """Positions of the records to which a search for a hash leads, in their order (https://cr.yp.to/cdb/cdb.txt)."""
    length = len(table) // _PAIR.size
    slot = (hashed >> 8) % length if length else 0
    for _ in range(length):
        found, position = _PAIR.unpack_from(table, slot * _PAIR.size)
        if not position:
            return
        if found == hashed:
            yield position
        slot = (slot + 1) % length


class _File:
    """The bytes of a file by position, read and not mapped: what shrinks under a map ends the process by SIGBUS."""

    def __init__(self, path: str) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise MissingMapError(f"map {path} does not exist; write it with `onionmx sync`") from error
        except OSError as error:
            raise MapError(f"map {path} cannot be read: {error.strerror}") from error
        except ValueError as error:  # the name holds a NUL
            raise MapError(f"map {path!r} cannot be read: {error}") from error
        try:
            self._size = os.fstat(self._descriptor).st_size
            self.header = os.pread(self._descriptor, _HEADER.size, 0)
        except OSError as error:
            self.close()
            raise MapError(f"map {path} cannot be read: {error.strerror}") from error
        if len(self.header) < _HEADER.size:
            self.close()
            raise MapError(f"map {path}: shorter than the header of a CDB; {_DAMAGED}")

    def read(self, position: int, size: int) -> bytes:
        """Bytes at a position; fewer than asked for at the end of the file, or where it cannot be read."""
        try:
            return os.pread(self._descriptor, size, position)
        except OSError:  # a bad sector: what cannot be read fails its check
            return b""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        """For cdblib, which reads the header."""
        return self.header[part]

    def close(self) -> None:
        """Close it; once more does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
