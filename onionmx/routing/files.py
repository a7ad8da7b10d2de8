"""What the files of this host say of a domain: its local domains, pins, the map.

A changed file is taken up whole. Text is taken up only when nobody has written to it for half a second, so that a
lookup never sees half of a file that is edited in place; the map is always put in place whole.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Generic, TypeVar

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.config import Configuration, LocalSection
from onionmx.config.sync import SyncSection
from onionmx.dns.srv import answer_without_question
from onionmx.domain import Domain
from onionmx.errors import ConfigurationError, MapError, MissingMapError, OnionmxError
from onionmx.fallback.released import WHY
from onionmx.mapfile.cdb import DEFERS, DEFERS_WHY, MapReader
from onionmx.mapfile.domains import local_answer, read_local_domains
from onionmx.mapfile.pins import pinned_answer, read_pins
from onionmx.onion import Endpoint, is_for_tor_alone
from onionmx.routing.listing import Listing
from onionmx.routing.released import ReleasedFile
from onionmx.routing.standing import Validity
from onionmx.target import Route, Source, targets_of

LOOK_INTERVAL = 0.5
"""Seconds between two looks at the files, and for which a text file must have been left alone."""

_NO_LIST = "there is no map, and DNS has no list of domains: run `onionmx sync`, or ask for one domain at a time"
_MOST_FOUND = 10_000
"""Routes remembered until a file changes: to read one again, and check its onions, takes longer than to ask for it."""

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_Version = tuple[int, int, int] | None


class RouteFiles:
    """Local domains, pins and map, read again when their files change.

    A mistake in a file makes every answer "could not tell" until it is corrected: what it would have said is not known.
    So does a file that was there and is gone, until it is back or these files are opened anew.

    Args:
        local: this host's local domains.
        pins: the file of pins; `None` to leave pins aside.
        map_path: the map; `None` to leave it aside.
        pins_may_be_missing: a file of pins that does not exist has none.
        map_may_be_missing: a map that does not exist is an empty one, as before the first sync.
        released: the file of domains that have no route now, as their onions fail for long; `None` to leave it aside.
        look_interval: seconds between two looks at the files.

    Attributes:
        validity: until the next look at the files; another one when a file has changed.
    """

    def __init__(  # noqa: PLR0913 -- three files, and which of them may be missing
        self,
        local: LocalSection,
        pins: Path | None,
        map_path: Path | None,
        *,
        pins_may_be_missing: bool = True,
        map_may_be_missing: bool = False,
        released: str | None = None,
        look_interval: float = LOOK_INTERVAL,
    ) -> None:
        self._look_interval = look_interval
        self._released = ReleasedFile(released) if released else None
        self.validity = Validity()
        self._error: OnionmxError | None = None
        self._found: dict[str, Found] = {}
        local_file = Path(local.file) if local.file else None
        self._local = _File(local_file, lambda _: read_local_domains(local), look_interval)
        self._pins = _File(pins, partial(_read_pins, may_be_missing=pins_may_be_missing), look_interval)
        # Maps are always put in place whole.
        self._map = _File(map_path, partial(_open_map, may_be_missing=map_may_be_missing), 0)
        self._all: tuple[_File[Any], ...] = (self._local, self._pins, self._map)

    @classmethod
    def from_configuration(cls, configuration: Configuration, *, may_release: bool = True) -> "RouteFiles":
        """The files that the configuration names. With live lookups, a map need not be there.

        Args:
            may_release: read which domains are released.
        """
        return cls(
            configuration.local,
            Path(configuration.sync.pins),
            Path(configuration.map.path),
            pins_may_be_missing=configuration.sync.pins == SyncSection().pins,
            map_may_be_missing=configuration.lookup.live,
            released=configuration.fallback.released if may_release else None,
        )

    def get(self, domain: Domain) -> Answer | None:
        """The answer for a domain, or `None` where only DNS can have one.

        The order: local domains, pins, what is released, the map, names that lead to onions by themselves.
        """
        if time.monotonic() >= self.validity.until:
            self.look()
        if self._error is not None:
            return CouldNotTell(domain, _one_line(self._error))
        found = self._found.get(domain)
        if found is not None:
            return found
        try:
            answer = self._read(domain)
        except OnionmxError as error:
            return CouldNotTell(domain, str(error))
        if isinstance(answer, Found):
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            self._found[domain] = answer
        return answer

    def look(self) -> None:
        """Look at the files now, and take up what has changed."""
        now = time.monotonic()
        old_map = self._map.content
        has_changed = [file.look() for file in self._all]
        if any(has_changed):
            self.retract()
            self._error = self._local.error or self._pins.error or self._map.error
        if self._released is not None and self._released.look():
            self.retract()
        if old_map is not None and old_map is not self._map.content:
            old_map.close()
        self.validity.until = now + self._look_interval

    def check(self) -> None:
        """Look at the files now.

        Raises:
            ConfigurationError: local domains or pins have mistakes.
            MapError: the map is missing, unreadable or damaged.
        """
        self.look()
        if self._error is not None:
            raise self._error

    def listing(self) -> Listing:
        """All domains, as the files are now. Without a map there is none: what is in DNS alone would be missing.

        Raises:
            ConfigurationError: local domains or pins have mistakes.
            MapError: the map is missing, unreadable or damaged.
        """
        # A damaged map is read again by each look: not at the will of clients.
        if self._error is None or time.monotonic() >= self.validity.until or any(file.differs for file in self._all):
            self.look()
        if self._error is not None:
            raise self._error
        if self._map.content is None:
            raise MissingMapError(_NO_LIST)
        released = self._released.path if self._released else None
        return Listing(
            self.validity, self._local.content or (), self._pins.content or {}, self._map.content.path, released
        )

    def retract(self) -> None:
        """End the validity: whatever was answered so far is to be found out again."""
        self.validity.until = -inf
        self.validity = Validity()
        self._found.clear()

    def close(self) -> None:
        """Close the map."""
        self.retract()
        if self._map.content is not None:
            self._map.content.close()
        if self._released is not None:
            self._released.close()

    def _read(self, domain: str) -> Answer | None:
        if self._local.content and domain in self._local.content:
            return local_answer(domain)
        if self._pins.content and (pinned := self._pins.content.get(domain)) is not None:
            return pinned_answer(domain, pinned)
        endpoints = self._map.content.get(domain) if self._map.content is not None else None
        if endpoints == DEFERS:
            return CouldNotTell(domain, DEFERS_WHY)
        if self._released is not None and not is_for_tor_alone(domain) and self._released.has(domain):
            return NoRoute(domain, WHY)
        if endpoints:
            return Found(Route(domain, targets_of(endpoints), Source.MAP, None))
        return answer_without_question(domain)


def _read_pins(path: Path | None, *, may_be_missing: bool) -> Mapping[str, tuple[Endpoint, ...]]:
    return read_pins(path, may_be_missing=may_be_missing) if path else {}


def _open_map(path: Path | None, *, may_be_missing: bool) -> MapReader | None:
    if path is None:
        return None
    try:
        reader = MapReader(path)
    except MissingMapError:
        if may_be_missing:
            return None
        raise
    try:
        reader.check_whole()
    except MapError:
        reader.close()
        raise
    if not reader.has_checksums:
        _logger.warning("map %s has no checksums, so damage to it can go unnoticed; onionmx writes them", path)
    return reader


class _File(Generic[_T]):
    """A file, and what its last version that could be used says.

    Args:
        path: `None` where there is no such file.
        quiet: seconds for which nobody must have written to a new version.
    """

    def __init__(self, path: Path | None, read: Callable[[Path | None], _T], quiet: float) -> None:
        self._path = path
        self._read = read
        self._quiet = quiet
        self._version: _Version = None
        self._is_read = False
        self._was_there = False
        self.content: _T | None = None
        self.error: OnionmxError | None = None

    @property
    def differs(self) -> bool:
        """Whether it is another file than the one that was read last."""
        return self._version_now() != self._version

    def look(self) -> bool:
        """Read it if it is not what it was; whether anything has changed."""
        version = self._version_now()
        if self._is_read and self.error is None and (version == self._version or self._is_being_written(version)):
            return False
        error, content = None, self.content
        try:
            content = self._read_what_is_there(version)
        except OnionmxError as caught:
            error = caught
        if self._is_read:
            if self._version_now() != version:
                return False  # somebody has just begun to write
            self._log(error)
        self.content, self.error, self._version, self._is_read = content, error, version, True
        return True

    def _read_what_is_there(self, version: _Version) -> _T:
        if version is not None:
            self._was_there = True
        elif self._was_there:
            raise ConfigurationError(f"{self._path} was there and is gone: put it back, or reload to go on without it")
        return self._read(self._path)

    def _version_now(self) -> _Version:
        """What changes when a file is replaced or rewritten; `None` where there is none."""
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return 0, 0, 0  # reading it says why
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _is_being_written(self, version: _Version) -> bool:
        return version is not None and 0 <= time.time() - version[1] / 1e9 < self._quiet

    def _log(self, error: OnionmxError | None) -> None:
        if error is None:
            _logger.info("%s has changed and is taken up", self._path)
        elif str(error) != str(self.error):
            _logger.error("no lookup can be answered until this is fixed: %s", _one_line(error))


def _one_line(error: OnionmxError) -> str:
    return "; ".join(str(error).splitlines())
