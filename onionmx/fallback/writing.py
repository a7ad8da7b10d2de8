"""Writing `released.cdb`, which the relay alone does."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from onionmx.domain import Domain
from onionmx.errors import MapError
from onionmx.fallback.released import VALUE, open_believed
from onionmx.mapfile.cdb import MapReader
from onionmx.mapfile.transport import keys_of
from onionmx.mapfile.write import publish_records


class ReleasedNow(Struct, frozen=True):
    """What the file says, for people.

    Attributes:
        domains: in normal form.
        confirmed: seconds since 1970 at which the relay last saw all of them failing.
    """

    domains: tuple[Domain, ...]
    confirmed: float


def write_released(path: Path, domains: Iterable[Domain], age: float = 0.0) -> None:
    """Write the file anew; readers see the old one or the new one.

    Args:
        path: the file; its folder must exist.
        domains: those that are released.
        age: seconds since they were last seen failing: the file is as old as that.

    Raises:
        MapError: it could not be written; the old one stays.
    """
    records = ((key.encode(), VALUE) for domain in sorted(domains) for key in keys_of(domain))
    publish_records(path, records)
    if age > 0:
        seen = time.time() - age
        try:
            os.utime(path, (seen, seen))
        except OSError as error:
            raise MapError(f"{path}: its time cannot be set: {error.strerror}") from error


def disown(path: Path) -> None:
    """Give the file a time of long ago, if that can be: nobody but Postfix believes it then."""
    with suppress(OSError):
        os.utime(path, (0, 0), follow_symlinks=False)


def has_entries(path: Path) -> bool:
    """Whether the file names a domain, or may do so: one that cannot be read is to be written anew."""
    if not os.path.lexists(path):
        return False
    try:
        with MapReader(path) as reader:
            return len(reader) > 0
    except MapError:
        return True


def read_released(path: Path) -> ReleasedNow:
    """What the file says now.

    Raises:
        MissingMapError: there is none: the relay has no rules.
        MapError: it is not to be believed, so nothing is released.
    """
    with open_believed(str(path)) as reader:
        keys = [key.decode("utf-8", "replace") for key, _ in reader.records()]
    try:
        confirmed = path.lstat().st_mtime
    except OSError as error:
        raise MapError(f"{path} cannot be looked at: {error.strerror}") from error
    return ReleasedNow(tuple(key for key in keys if key.isascii()), confirmed)
