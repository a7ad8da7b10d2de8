"""What all tables of the configuration have in common."""

import os
from pathlib import Path

import msgspec

from onionmx.defaults import STATE_DIRECTORY


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; keys that it does not have are refused."""


def state_directory() -> Path:
    """`/var/lib/onionmx` for root and for services, else a folder of the user's own (XDG).

    A service without root has no home that it could write to; one of DynamicUser= may have none at all.
    """
    system = Path(STATE_DIRECTORY)
    if os.geteuid() == 0 or os.access(system, os.W_OK):
        return system
    if named := os.environ.get("XDG_STATE_HOME"):
        return Path(named) / "onionmx"
    try:
        home = Path.home()
    except RuntimeError:  # HOME is not set, and no passwd entry names one
        return system
    return home / ".local/state/onionmx" if os.access(home, os.W_OK) else system
