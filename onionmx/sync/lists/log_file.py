"""Log files of any size, plain or by gzip: opened, told apart, and read line by line in little memory."""

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from hashlib import blake2b
from io import BufferedIOBase, BufferedReader, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.errors import ConfigurationError
from onionmx.files import open_regular

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_LINE = 16 * 1024
"""Bytes; what is longer is junk, for MTAs cut their lines far below."""
_GZIP = b"\x1f\x8b"
_OTHERS = {b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_LONGEST_MAGIC = 6

MOST_READ = 2 << 30
"""Bytes of all logs that one run reads, decompressed, each line counting as `_LEAST` at least; the next one goes on."""
_LEAST = 100  # bytes; a line takes time, however short it is
MOST_EXPANDED = 200
"""Times its size to which a compressed log may grow; mail logs grow 10 to 30 times, a bomb 1000 times."""
_FIRST_EXPANDED = 16 << 20  # bytes that are always fine: a handful of lines may be all the same
_PIECE = 1 << 20

READ_ERRORS = (OSError, EOFError, zlib.error)
"""What reading a log can raise; all but the first for one that is damaged, or that is being compressed right now."""


@dataclass(slots=True)
class Budget:
    """How much may still be read.

    Attributes:
        left: bytes; nothing is read any more once it is not above 0.
    """

    left: int


def find_logs(patterns: Iterable[str]) -> list[Path]:
    """The files of names with `*`, `?` and `[...]`, each once.

    Raises:
        ConfigurationError: there is none for one of them.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        paths = [Path(name) for name in sorted(glob(pattern))]  # noqa: PTH207 -- of a whole path, absolute or not
        if not paths:
            raise ConfigurationError(
                f"sync.logs: no file is seen at {pattern}: expected a mail log, in a folder that may be read"
            )
        found.update(dict.fromkeys(path for path in paths if not path.is_dir()))
    return list(found)


@contextmanager
def opened_log(path: Path) -> Iterator[BufferedIOBase]:
    """A log, decompressed. The folder is of the MTA's user, who may have put anything there.

    Raises:
        ConfigurationError: compressed otherwise than by gzip.
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as file, uncompressed(file, str(path)) as log:
        yield log


@contextmanager
def uncompressed(file: BufferedReader, name: str) -> Iterator[BufferedIOBase]:
    """What a file says, decompressed if it is by gzip.

    Args:
        file: at its start.
        name: for the message.

    Raises:
        ConfigurationError: compressed otherwise than by gzip.
    """
    magic = file.peek(_LONGEST_MAGIC)
    for start, method in _OTHERS.items():
        if magic.startswith(start):
            raise ConfigurationError(
                f"{name} is compressed by {method}: expected a plain log, or one compressed by gzip"
            )
    if magic.startswith(_GZIP):
        counted = _Counted(file)
        with gzip.GzipFile(fileobj=counted) as log, BufferedReader(_Bounded(log, counted)) as bounded:
            yield bounded
    else:
        yield file


def head_of(log: BufferedIOBase) -> bytes | None:
    """What tells a log from all others, whatever it is renamed to and however compressed: a digest of its first line.

    Returns:
        `None` while the first line has no end.
    """
    line = log.readline(MAX_LINE)
    if not line.endswith(b"\n") and len(line) < MAX_LINE:
        return None
    return blake2b(line, digest_size=16).digest()


def identity_of(path: Path) -> str:
    """A text that is another as soon as something is written to the file."""
    status = path.stat()
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def read_from(log: BufferedIOBase, position: int, budget: Budget) -> Iterator[tuple[bytes, int]]:
    """Lines from a position on, each with the position after it; the last one only if it has its end.

    Args:
        log: to be read.
        position: at the start of a line, in bytes of what is decompressed.
        budget: is used up.
    """
    log.seek(position, os.SEEK_SET)
    yield from whole_lines(log, position, budget)


def whole_lines(log: BufferedIOBase, position: int, budget: Budget) -> Iterator[tuple[bytes, int]]:
    """The same from where the log is now. A line that is too long comes as an empty one."""
    is_rest = False
    while budget.left > 0 and (piece := log.readline(MAX_LINE)):
        position += len(piece)
        budget.left -= max(len(piece), _LEAST)
        if not piece.endswith(b"\n"):
            is_rest = True
            continue
        yield (b"" if is_rest else piece), position
        is_rest = False
    if is_rest and budget.left <= 0:
        yield b"", position  # a line without an end must not be read again and again


class _Counted:
    """A file that counts what is read of it, as `gzip` reads it."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data

    def seek(self, position: int, /) -> int:
        self.count = self._file.seek(position)
        return self.count


class _Bounded(RawIOBase):
    """What a compressed file says, as long as it says no more than a log could."""

    def __init__(self, log: gzip.GzipFile, compressed: _Counted) -> None:
        super().__init__()
        self._log = log
        self._compressed = compressed
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = os.SEEK_SET, /) -> int:
        assert whence == os.SEEK_SET  # noqa: S101 -- there is one caller
        if position < self._position:
            self._log.rewind()
            self._position = 0
        while (left := position - self._position) and self._read(min(left, _PIECE)):
            pass
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._read(len(view))
        view[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        data = self._log.read1(size)
        self._position += len(data)
        if self._position > max(_FIRST_EXPANDED, MOST_EXPANDED * self._compressed.count):
            raise OSError(f"it grows to more than {MOST_EXPANDED} times its size, as no log does")
        return data
