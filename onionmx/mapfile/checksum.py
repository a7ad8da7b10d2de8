"""Checksums behind the last hash table of a CDB, so that a damaged map is never taken for one without the entry.

Readers of CDBs find everything by the header and never look behind the last table. What is there, little-endian: a
mark of eight bytes, and the CRC-32 (ISO 3309, as zlib computes it) of the header, of each of the 256 hash tables, of
all bytes before the mark, and of the checksums themselves.

The route helper loads this module for each message: it imports next to nothing.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

TYPE_CHECKING = False  # typing itself would cost the route helper 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TABLES = 256
_MARK = b"onionmx\x01"
_SUMS = Struct(f"<8s{TABLES + 2}I")
_OWN = Struct("<I")
SIZE = _SUMS.size + _OWN.size
"""Bytes that the checksums take."""
CHUNK = 1 << 20
"""Bytes read at once where a whole file is read."""


class Checksums:
    """What the parts of a map must sum up to.

    Attributes:
        header: CRC-32 of the header.
        tables: CRC-32 of each hash table.
        whole: CRC-32 of everything before the checksums.
    """

    def __init__(self, header: int, tables: Sequence[int], whole: int) -> None:
        self.header = header
        self.tables = tables
        self.whole = whole

    def encode(self) -> bytes:
        """As they are in the file."""
        sums = _SUMS.pack(_MARK, self.header, *self.tables, self.whole)
        return sums + _OWN.pack(crc32(sums))


def decode(raw: bytes) -> Checksums | None:
    """Read what follows the last hash table; `None` if these are no checksums, or damaged ones."""
    if len(raw) != SIZE or not raw.startswith(_MARK) or raw[-_OWN.size :] != _OWN.pack(crc32(raw[: -_OWN.size])):
        return None
    _, header, *tables, whole = _SUMS.unpack_from(raw)
    return Checksums(header, tables, whole)


def crc_of(read: Callable[[int, int], bytes], size: int) -> int:
    """CRC-32 of the beginning of a file.

    Args:
        read: gives bytes by position and number, fewer at the end of the file.
        size: number of bytes.
    """
    crc = position = 0
    while position < size and (piece := read(position, min(CHUNK, size - position))):
        crc = crc32(piece, crc)
        position += len(piece)
    return crc
