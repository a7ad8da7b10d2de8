"""The file of released domains, as a daemon reads it: open, looked at with the other files."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.domain import Domain
from onionmx.errors import MapError, MissingMapError
from onionmx.fallback.released import VALUE, is_of_now, open_believed
from onionmx.fallback.writing import has_entries

if TYPE_CHECKING:
    from onionmx.mapfile.cdb import MapReader

_Version = tuple[int, int, int, int]

_logger = logging.getLogger(__name__)


class ReleasedFile:
    """What `released.cdb` says; nothing is released wherever that cannot be told.

    Attributes:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._reader: MapReader | None = None
        self._version: _Version | None = None
        self._trouble = ""

    def look(self) -> bool:
        """Read it again if it has changed; whether it has, or is not believed any longer."""
        version = self._version_now()
        if version == self._version and (self._reader is None or is_of_now(version[3] / 1e9 if version else 0.0)):
            return False
        was_open = self._reader is not None
        self.close()
        self._version = version
        try:
            if version is not None:
                self._reader = open_believed(self.path)
                self._reader.check_whole()
            self._trouble = ""
        except MissingMapError:
            self._trouble = ""
        except MapError as error:
            self.close()
            self._complain(error)
        return was_open or self._reader is not None

    def has(self, domain: Domain) -> bool:
        """Whether a domain is released."""
        try:
            return self._reader is not None and self._reader.get_value(domain) == VALUE
        except MapError as error:
            self._complain(error)
            return False

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _version_now(self) -> _Version | None:
        try:
            status = os.lstat(self.path)
        except (OSError, ValueError):
            return None
        return status.st_ino, status.st_size, status.st_mode, status.st_mtime_ns

    def _complain(self, error: MapError) -> None:
        """Once; a file that is old and names no domain is as it should be."""
        if str(error) != self._trouble and has_entries(Path(self.path)):
            self._trouble = str(error)
            _logger.warning("nothing is taken as released, and mail for onions waits: %s", error)
