"""What the relay has to check again: a second CDB beside the map, from domains to demands.

It is written by sync for the domains that are routed over an unsigned record and demand a proof. A domain that is
in it is delivered only over TLS with a certificate that meets the demand.
"""

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from onionmx.authenticate.demand.requirement import Demand, RequirementError, decode_demand, encode_demand
from onionmx.domain import Domain
from onionmx.errors import MapError, MissingMapError
from onionmx.mapfile.cdb import MapReader
from onionmx.mapfile.write import publish_records

_Version = tuple[int, int, int] | None


def demands_path(map_path: Path) -> Path:
    """Where the demands of the domains in a map are kept."""
    return map_path.with_name(f"{map_path.name}.demands")


@contextmanager
def publishing_demands(map_path: Path, demands: Mapping[str, Demand]) -> Iterator[None]:
    """Publish demands while the body publishes the map, so that no reader sees a route without its demand.

    Before the body, the old demands and the new ones are in the file; after it, only the new ones. If the body
    fails, both stay: too many demands delay mail, too few would send it to a stranger.

    Args:
        demands: domains in normal form that are routed only to an onion MX that proves itself.

    Raises:
        MapError: the file could not be written; the old one is still in place.
    """
    path = demands_path(map_path)
    old = _read_all(path)
    both = (old or {}) | dict(demands)
    if both != old:
        _publish(path, both)
    yield
    if demands != both:
        _publish(path, demands)


@contextmanager
def keeping_demands(map_path: Path, domains: Container[str]) -> Iterator[None]:
    """Keep the demands of these domains while the body publishes a map from elsewhere.

    Every map has its file of demands, also where there are none: the relay delivers nothing without it.

    Args:
        domains: those of the new map.

    Raises:
        MapError: the demands cannot be read or written.
    """
    try:
        with MapReader(demands_path(map_path)) as reader:
            old = [(key.decode("ascii", "backslashreplace"), value) for key, value in reader.records()]
    except MissingMapError:
        old = []
    path = demands_path(map_path)
    with publishing_demands(
        map_path, {domain: _decode(path, domain, value) for domain, value in old if domain in domains}
    ):
        yield


class PublishedDemands:
    """The demands beside a map; the file is opened again when it was replaced."""

    def __init__(self, map_path: Path) -> None:
        self._path = demands_path(map_path)
        self._version: _Version = None
        self._reader: MapReader | None = None

    def get(self, domain: Domain) -> Demand | None:
        """What a domain demands, or `None` where it demands nothing.

        Raises:
            MapError: the file is missing, cannot be read or is damaged: what the domain demands is not known.
        """
        self._look()
        value = self._reader.get_value(domain) if self._reader else None
        return None if value is None else _decode(self._path, domain, value)

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _look(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._version = None
        except OSError as error:
            raise MapError(f"{self._path} cannot be read: {error.strerror}") from error
        else:
            version = status.st_ino, status.st_mtime_ns, status.st_size
            if self._reader is not None and version == self._version:
                return
            self._version = version
        self.close()
        reader = MapReader(self._path)
        try:
            reader.check_whole()
        except MapError:
            reader.close()
            raise
        self._reader = reader


def _decode(path: Path, domain: str, value: bytes) -> Demand:
    try:
        return decode_demand(value)
    except RequirementError as error:
        raise MapError(f"{path}: {domain}: {error}; move it away and run `onionmx sync`") from error


def _read_all(path: Path) -> dict[str, Demand] | None:
    """Demands that are there now; `None` where there is no file that can be read, which is then written anew."""
    try:
        with MapReader(path) as reader:
            return {key.decode("ascii"): decode_demand(value) for key, value in reader.records()}
    except (MapError, RequirementError, UnicodeDecodeError):
        return None


def _publish(path: Path, demands: Mapping[str, Demand]) -> None:
    publish_records(path, ((domain.encode("ascii"), encode_demand(demands[domain])) for domain in sorted(demands)))
