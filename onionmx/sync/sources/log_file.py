"""Log files of any size, plain or by gzip: opened, told apart, and read line by line in little memory."""

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import glob
from hashlib import blake2b
from io import BufferedIOBase, BufferedReader
from pathlib import Path

from onionmx.errors import ConfigurationError

MAX_LINE = 16 * 1024
"""Bytes; what is longer is junk, for MTAs cut their lines far below."""
_GZIP = b"\x1f\x8b"
_OTHERS = {b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_LONGEST_MAGIC = 6

READ_ERRORS = (OSError, EOFError, zlib.error)
"""What reading a log can raise; all but the first for one that is damaged, or that is being compressed right now."""


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
    """A log, decompressed.

    Raises:
        ConfigurationError: compressed otherwise than by gzip.
        OSError: it cannot be read.
    """
    with path.open("rb") as file, uncompressed(file, str(path)) as log:
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
        with gzip.GzipFile(fileobj=file) as log:
            yield log
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


def read_from(log: BufferedIOBase, position: int) -> Iterator[tuple[bytes, int]]:
    """Lines from a position on, each with the position after it; the last one only if it has its end.

    Args:
        log: to be read.
        position: at the start of a line, in bytes of what is decompressed.
    """
    log.seek(position, os.SEEK_SET)
    yield from whole_lines(log, position)


def whole_lines(log: BufferedIOBase, position: int = 0) -> Iterator[tuple[bytes, int]]:
    """The same from where the log is now. A line that is too long comes as an empty one."""
    is_rest = False
    while piece := log.readline(MAX_LINE):
        position += len(piece)
        if not piece.endswith(b"\n"):
            is_rest = True
            continue
        yield (b"" if is_rest else piece), position
        is_rest = False
