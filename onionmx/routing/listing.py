"""All domains that the files of this host send to the relay, read beside the lookups: for lists of domains."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from onionmx.domain import normalize
from onionmx.errors import DomainError, MapError, OnionError
from onionmx.fallback.released import VALUE, open_believed
from onionmx.mapfile.cdb import COULD_NOT_TELL, DEFERS, MapReader, parse_value
from onionmx.onion import Endpoint, is_for_tor_alone
from onionmx.routing.standing import Validity

_WAITS = COULD_NOT_TELL.encode("ascii")


class Listed(NamedTuple):
    """A domain whose mail goes to the relay.

    Attributes:
        domain: in normal form.
        waits: whether the relay could not tell now where it goes.
    """

    domain: bytes
    waits: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """The files as they are now. It holds no file open, so it may be read in a thread while lookups go on.

    Attributes:
        validity: of what was read; another one when a file has changed.
        local: domains that never go to the relay.
        pins: domains and their endpoints, none where they never go.
        map_path: the map.
        released: the file of released domains, if there is one.
    """

    validity: Validity
    local: Collection[str]
    pins: Mapping[str, tuple[Endpoint, ...]]
    map_path: str
    released: str | None

    @contextmanager
    def opened(self) -> Iterator[Iterator[Listed]]:
        """The domains, in the order of the map and with pins behind it: what `RouteFiles.get` finds or could not tell.

        Raises:
            MapError: the map is missing, unreadable or damaged; also while the domains are read.
        """
        with MapReader(self.map_path) as reader:
            reader.check_whole()
            yield self._domains(reader)

    def _domains(self, reader: MapReader) -> Iterator[Listed]:
        released = self._released()
        pinned = {domain.encode(): bool(endpoints) for domain, endpoints in self.pins.items()}
        local = {domain.encode() for domain in self.local}
        in_map = set()
        for key, value in reader.records():
            if key in local:
                continue
            is_pinned = pinned.get(key)
            if is_pinned is not None:
                if is_pinned:
                    in_map.add(key)
                    yield Listed(key, waits=False)
            elif not (key in released and _has_endpoints(value)) and _is_domain(key):
                yield Listed(key, waits=value == _WAITS)
        for key, is_pinned in pinned.items():
            if is_pinned and key not in local and key not in in_map:
                yield Listed(key, waits=False)

    def _released(self) -> frozenset[bytes]:
        """As `ReleasedFile` has them: none where that cannot be told."""
        if self.released is None:
            return frozenset()
        try:
            with open_believed(self.released) as reader:
                reader.check_whole()
                return frozenset(
                    key
                    for key, value in reader.records()
                    if value == VALUE and not is_for_tor_alone(key.decode("ascii", "replace"))
                )
        except MapError:
            return frozenset()


def _has_endpoints(value: bytes) -> bool:
    """Whether it is known where a domain leads; what is not known is not released either."""
    try:
        return parse_value(value) != DEFERS
    except OnionError:
        return False


def _is_domain(key: bytes) -> bool:
    """Whether a lookup can ask for a key; other writers may have put anything into a map."""
    try:
        return normalize(key.decode("ascii")) == key.decode("ascii")
    except (UnicodeDecodeError, DomainError):
        return False
