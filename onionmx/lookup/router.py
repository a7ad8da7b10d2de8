"""Routes from pins, the map and DNS, in this order: what an operator wrote, what sync found, what DNS says now."""

from pathlib import Path

from onionmx.answer import Answer, Ask, CouldNotTell, Found, NoRoute
from onionmx.errors import OnionmxError
from onionmx.mapfile.cdb import MapReader
from onionmx.mapfile.pins import pinned_answer, read_pins
from onionmx.onion import Endpoint
from onionmx.target import Route, Source, targets_of

_Version = tuple[int, int, int] | None


class Router:
    """Finds routes. Pins and map are read again when their files change.

    Args:
        pins: the file of pins; `None` to leave pins aside.
        map_path: the map; `None` to leave it aside.
        ask: asks DNS for what neither has; `None` where the map is the last word.
        map_may_be_missing: a map that does not exist is an empty one, as before the first sync.
    """

    def __init__(
        self, pins: Path | None, map_path: Path | None, ask: Ask | None, *, map_may_be_missing: bool = False
    ) -> None:
        self._pins = pins and _Pins(pins)
        self._map = map_path and _Map(map_path, may_be_missing=map_may_be_missing)
        self._ask = ask

    async def route(self, domain: str) -> Answer:
        """Find the route of a domain.

        Args:
            domain: in normal form.
        """
        try:
            known = self._known(domain)
        except OnionmxError as error:
            return CouldNotTell(domain, str(error))
        if known is not None:
            return known
        if self._ask is not None:
            return await self._ask(domain)
        return NoRoute(domain, "no entry in the map")

    def _known(self, domain: str) -> Answer | None:
        if self._pins and (pinned := self._pins.get(domain)) is not None:
            return pinned_answer(domain, pinned)
        if self._map and (endpoints := self._map.get(domain)):
            return Found(Route(domain, targets_of(endpoints), Source.MAP, None))
        return None


class _Pins:
    """The file of pins. A new version with mistakes is an error for every domain until it is mended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: _Version = None
        self._pins: dict[str, tuple[Endpoint, ...]] = {}

    def get(self, domain: str) -> tuple[Endpoint, ...] | None:
        version = _version(self._path)
        if version != self._version or version is None:
            self._pins = read_pins(self._path, may_be_missing=True)
            self._version = version
        return self._pins.get(domain)


class _Map:
    """The map, kept open until another one is published in its place."""

    def __init__(self, path: Path, *, may_be_missing: bool) -> None:
        self._path = path
        self._may_be_missing = may_be_missing
        self._version: _Version = None
        self._reader: MapReader | None = None

    def get(self, domain: str) -> tuple[Endpoint, ...] | None:
        version = _version(self._path)
        if version is None and self._may_be_missing:
            return None
        if self._reader is None or version != self._version:
            reader = MapReader(self._path)
            if self._reader is not None:
                self._reader.close()
            self._reader, self._version = reader, version
        return self._reader.get(domain)


def _version(path: Path) -> _Version:
    """What changes when a file is replaced or rewritten; `None` where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
