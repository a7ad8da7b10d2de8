"""Which domains are released to the open internet, as the MTA and lookups read it."""

import os
from pathlib import Path

from onionmx.config import FallbackSection
from onionmx.errors import MapError, MissingMapError
from onionmx.fallback.writing import has_entries, read_released
from onionmx.status.model import FallbackStatus

NO_RULES = "there are no fallback rules"
NONE = "none"


def look_at_released(settings: FallbackSection) -> FallbackStatus:
    """Read the file of the relay. One that is not believed releases nothing, which is said where it names domains."""
    path = Path(settings.released)
    try:
        now = read_released(path)
    except MissingMapError:
        return _without_table(settings.rules)
    except MapError as error:
        if isinstance(error.__cause__, PermissionError):
            return FallbackStatus(released=None, why=str(error))
        return FallbackStatus(released=(), why=str(error) if has_entries(path) else NONE)
    if not now.domains:
        return FallbackStatus(released=(), why=NONE)
    return FallbackStatus(released=tuple(sorted(now.domains)), confirmed=now.confirmed)


def _without_table(rules: str) -> FallbackStatus:
    try:
        os.lstat(rules)
    except FileNotFoundError:
        return FallbackStatus(released=(), why=NO_RULES)
    except OSError as error:
        return FallbackStatus(released=None, why=f"{rules} cannot be looked at: {error.strerror}")
    return FallbackStatus(released=(), why=NONE)
