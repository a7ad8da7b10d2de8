"""Reading the map: a CDB (https://cr.yp.to/cdb/cdb.txt) from domains to endpoints.

Key: the domain in normal form. Value: endpoints in route order, joined by one space, the port left out where it
is 25. Neither has a terminator.

The route helper loads this module for each message: it imports next to nothing, and a lookup touches a few pages.
"""

from __future__ import annotations

import os
from mmap import ACCESS_READ, mmap
from struct import Struct
from struct import error as struct_error

from cdblib import Reader

from onionmx.errors import MapError, OnionError
from onionmx.onion import Endpoint, format_endpoint, parse_endpoint

TYPE_CHECKING = False  # typing itself would cost the route helper 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

_HEADER = Struct("<512I")  # 256 hash tables: position in bytes, length in slots
_SLOT = Struct("<II")  # hash, position of the record
_OUTSIDE = "a hash table points outside the file"
_DAMAGED = "it is damaged or not a CDB; move it away and run `onionmx sync`"


def parse_value(value: bytes) -> tuple[Endpoint, ...]:
    """Read the value of a map entry.

    Raises:
        OnionError: empty, or one of its endpoints cannot be used.
    """
    try:
        text = value.decode("ascii")
    except UnicodeDecodeError as error:
        raise OnionError(f"value {value[:80]!r} is not ASCII") from error
    if not text:
        raise OnionError("the value is empty: expected at least one onion")
    return tuple(parse_endpoint(word) for word in text.split(" "))


def format_value(endpoints: Iterable[Endpoint]) -> bytes:
    """Write the value of a map entry."""
    return " ".join(map(format_endpoint, endpoints)).encode("ascii")


class MapReader:
    """An open map. Only the pages that a lookup needs are read.

    A writer replaces the file by rename, so an open map stays what it was when it was opened.

    Args:
        path: the CDB.

    Raises:
        MapError: missing, unreadable, truncated, or not a CDB.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._searchable: set[int] = set()  # numbers of hash tables
        self._data = _map_into_memory(self.path)
        try:
            self._check_header()
            self._cdb = Reader(self._data)
        except BaseException:
            self._data.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unmap the file."""
        self._data.close()

    def __len__(self) -> int:
        """Number of entries, read from the header."""
        return len(self._cdb)

    def get_value(self, domain: str) -> bytes | None:
        """The value of a domain as it stands in the file, or `None` where the map has no entry for it.

        Args:
            domain: in normal form.

        Raises:
            MapError: the part of the map where the entry would stand is damaged.
        """
        key = domain.encode("utf-8")
        try:
            _, hashed = self._cdb.hash_key(key)
            self._check_has_empty_slot(hashed & 0xFF)
            value: bytes | None = self._cdb.get(key)
        except struct_error as error:
            raise self._damaged(_OUTSIDE) from error
        return value

    def get(self, domain: str) -> tuple[Endpoint, ...] | None:
        """Endpoints of a domain in route order, or `None` where the map has no entry for it.

        Args:
            domain: in normal form.

        Raises:
            MapError: the entry, or the part of the map where it would stand, is damaged.
        """
        value = self.get_value(domain)
        if value is None:
            return None
        try:
            return parse_value(value)
        except OnionError as error:
            raise self._damaged(f"entry {domain}: {error}") from error

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values as they stand in the file, in the order in which they were written.

        Raises:
            MapError: a record does not fit into the file.
        """
        end: int = self._cdb.table_start
        position = _HEADER.size
        while position < end:
            if position + _SLOT.size > end:
                raise self._damaged(f"a record at byte {position} is cut off")
            key_length, value_length = _SLOT.unpack_from(self._data, position)
            middle = position + _SLOT.size + key_length
            position = middle + value_length
            if position > end:
                raise self._damaged(f"the record that ends at byte {position} is cut off")
            yield self._data[middle - key_length : middle], self._data[middle:position]

    def count_found(self) -> int:
        """How many records a search for their keys leads to.

        Raises:
            MapError: the map is damaged.
        """
        found = 0
        position = _HEADER.size
        try:
            for number in range(len(self._cdb.index)):
                self._check_has_empty_slot(number)
            for key, value in self.records():
                _, hashed = self._cdb.hash_key(key)
                found += self._leads_to(hashed, position)
                position += _SLOT.size + len(key) + len(value)
        except struct_error as error:
            raise self._damaged(_OUTSIDE) from error
        return found

    def entries(self) -> Iterator[tuple[str, tuple[Endpoint, ...]]]:
        """All domains with their endpoints, in the order in which they were written.

        Raises:
            MapError: the map is damaged.
        """
        for key, value in self.records():
            try:
                yield key.decode("ascii"), parse_value(value)
            except (UnicodeDecodeError, OnionError) as error:
                raise self._damaged(f"entry {key[:80]!r}: {error}") from error

    def _leads_to(self, hashed: int, position: int) -> bool:
        """Whether the search for a hash comes to the record at a position (https://cr.yp.to/cdb/cdb.txt)."""
        table, length = self._cdb.index[hashed & 0xFF]
        slot = (hashed >> 8) % length if length else 0
        for _ in range(length):
            pair = _SLOT.unpack_from(self._data, table + slot * _SLOT.size)
            if pair == (hashed, position):
                return True
            if not pair[1]:
                return False
            slot = (slot + 1) % length
        return False

    def _check_header(self) -> None:
        """Every writer lays the tables out one behind the other up to the end of the file.

        A truncated or foreign file fails here, before anything in it is believed.
        """
        header = _HEADER.unpack_from(self._data)
        expected = header[0]
        if expected < _HEADER.size:
            raise self._damaged("its first hash table lies inside the header")
        for position, length in zip(header[::2], header[1::2], strict=True):
            if position != expected:
                raise self._damaged("its hash tables do not follow each other")
            expected += length * _SLOT.size
        if expected != len(self._data):
            raise self._damaged(f"its header speaks of {expected} bytes, the file has {len(self._data)}")

    def _check_has_empty_slot(self, number: int) -> None:
        """A search ends at an empty slot: without one, a damaged table would be searched for ever."""
        if number in self._searchable:
            return
        position, length = self._cdb.index[number]
        table = memoryview(self._data)[position : position + length * _SLOT.size]
        with table:
            if length and all(record for _, record in _SLOT.iter_unpack(table)):
                raise self._damaged("a hash table is full")
        self._searchable.add(number)

    def _damaged(self, what: str) -> MapError:
        return MapError(f"map {self.path}: {what}; {_DAMAGED}")


def _map_into_memory(path: str) -> mmap:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- pathlib would cost the route helper 5 ms
            if os.fstat(file.fileno()).st_size < _HEADER.size:
                raise MapError(f"map {path}: shorter than the header of a CDB; {_DAMAGED}")
            return mmap(file.fileno(), 0, access=ACCESS_READ)
    except FileNotFoundError as error:
        raise MapError(f"map {path} does not exist; write it with `onionmx sync`") from error
    except OSError as error:
        raise MapError(f"map {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # the name holds a NUL
        raise MapError(f"map {path!r} cannot be read: {error}") from error
