"""The cache in a file, so that a restart does not ask DNS for everything again. JSON, with a version.

The file says how many seconds each entry had left, and when that was. A clock that was set back in between makes no
entry younger than it was then, and one that was set forward only makes entries older.
"""

import logging
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from onionmx.answer import Found, NoRoute
from onionmx.clock import Timestamp
from onionmx.domain import normalize, shown
from onionmx.errors import InputError, TemporaryError
from onionmx.files import read_regular, replacing
from onionmx.onion import parse_onion, parse_port
from onionmx.routing.cache import CacheEntry, Kept
from onionmx.saved import Saved, read_saved
from onionmx.target import Route, Source, Target, Trust

FORMAT = 1
_MODE = 0o600  # it tells to whom this host writes
_MAX_UINT16 = 65535

_logger = logging.getLogger(__name__)


class CacheError(TemporaryError):
    """The cache could not be written."""


class _Line(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An entry. Without targets it says that there is no route."""

    domain: str
    remaining: float
    targets: tuple[Target, ...] = ()
    trust: Trust = Trust.UNSIGNED
    reason: str = ""
    notes: tuple[str, ...] = ()


class _Content(Saved, forbid_unknown_fields=True):
    saved: Timestamp
    entries: list[_Line]


def write_cache(path: Path, entries: Iterable[CacheEntry], now: Timestamp | None = None) -> None:
    """Write entries into a file, which is replaced whole.

    Args:
        path: the file; its folder is made.
        entries: what the cache holds.
        now: `None` for the time of the clock.

    Raises:
        CacheError: it could not be written; the old one stays.
    """
    content = _Content(FORMAT, time.time() if now is None else now, [_line(entry) for entry in entries])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, _MODE) as file:
            file.write(msgspec.json.encode(content))
    except OSError as error:
        raise CacheError(f"cache {path} cannot be written: {error.strerror}; the old one stays") from error


def read_cache(path: Path, now: Timestamp | None = None) -> list[CacheEntry]:
    """Read what `write_cache` wrote. One that cannot be used is a warning in the log and no entries.

    Args:
        path: the file; where there is none, there are no entries.
        now: `None` for the time of the clock.
    """
    try:
        return parse_cache(read_regular(path), time.time() if now is None else now)
    except FileNotFoundError:
        return []
    except OSError as error:
        why = f"it cannot be read: {error.strerror}"
    except InputError as error:
        why = str(error)
    _logger.warning("cache %s is left aside, the new one starts empty: %s", path, why)
    return []


def parse_cache(content: bytes, now: Timestamp) -> list[CacheEntry]:
    """Read the entries in a cache file.

    Raises:
        InputError: damaged, or of another version.
    """
    whole = read_saved(content, _Content, FORMAT)
    age = max(0.0, now - whole.saved)
    return [_entry(line, age) for line in whole.entries]


def _line(entry: CacheEntry) -> _Line:
    match entry.answer:
        case Found(route, notes):
            return _Line(entry.domain, entry.remaining, route.targets, route.trust or Trust.UNSIGNED, notes=notes)
        case NoRoute(domain, reason, _, notes):
            return _Line(domain, entry.remaining, reason=reason, notes=notes)


def _entry(line: _Line, age: float) -> CacheEntry:
    remaining = line.remaining - age
    if normalize(line.domain) != line.domain:
        raise InputError(f"it is damaged: {shown(line.domain)} is not in normal form")
    answer: Kept = NoRoute(line.domain, line.reason, 0, line.notes)
    if line.targets:
        for target in line.targets:
            _check(target)
        answer = Found(Route(line.domain, line.targets, Source.SRV, line.trust, 0), line.notes)
    return CacheEntry(line.domain, answer, remaining)


def _check(target: Target) -> None:
    parse_port(str(target.port))
    if parse_onion(target.onion) != target.onion:
        raise InputError(f"it is damaged: {shown(target.onion)} is not in normal form")
    if not (0 <= target.priority <= _MAX_UINT16 and 0 <= target.weight <= _MAX_UINT16):
        raise InputError(f"it is damaged: priority {target.priority} or weight {target.weight} is impossible")
