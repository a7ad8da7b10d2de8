"""Reading `released.cdb`: the domains whose mail may go over the open internet until their onions answer again.

Only a file that is certainly the relay's and of the last hour is believed: with any other, the onion route stands. The
route helper loads this module for each message: it imports next to nothing.
"""

from __future__ import annotations

import os
import stat
import time

from onionmx.errors import MapError, MissingMapError
from onionmx.mapfile.cdb import MapReader
from onionmx.onion import is_for_tor_alone

TYPE_CHECKING = False  # typing itself would cost the route helper 4 ms
if TYPE_CHECKING:
    from onionmx.domain import Domain

LONGEST = 3600.0
"""Seconds since it was written for which the file is believed; the relay confirms it every ten minutes."""
_AHEAD = 60.0  # seconds that the time of the file may be in the future
VALUE = b":"
"""Of each domain: to Postfix's transport_maps it means "change nothing" (transport(5))."""
WHY = "released: its onion MXes have failed for the time that the fallback rules name"
"""Why there is no route, in words that follow the domain."""


def is_released(path: str, domain: Domain) -> bool:
    """Whether the mail of a domain may go over the open internet now; `False` wherever that cannot be told."""
    if is_for_tor_alone(domain):
        return False
    try:
        with open_believed(path) as reader:
            return reader.get_value(domain) == VALUE
    except MapError:
        return False


def open_believed(path: str) -> MapReader:
    """Open the file.

    Raises:
        MissingMapError: there is none.
        MapError: it is not to be believed; the text says why.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError as error:
        raise MissingMapError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise MapError(f"{path} cannot be looked at: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise MapError(f"{path} is no regular file")
    if not is_of_now(status.st_mtime):
        raise MapError(f"{path} was not confirmed by the relay within {LONGEST / 60:.0f} minutes")
    reader = MapReader(path)
    if not reader.has_checksums:
        reader.close()
        raise MapError(f"{path} was not written by onionmx")
    return reader


def is_of_now(written: float) -> bool:
    """Whether a file of this time (seconds since 1970) is believed now."""
    return -_AHEAD <= time.time() - written <= LONGEST
