"""What a daemon keeps in a file of its own, so that a restart forgets nothing: JSON, with the number of its format."""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from onionmx.config import Configuration
from onionmx.errors import InputError

_Content = TypeVar("_Content", bound="Saved")


class Saved(msgspec.Struct):
    """The content of such a file."""

    format: int


def saved_in(configuration: Configuration, name: str) -> Path:
    """A file in the folder that systemd has made for the service (StateDirectory=), or beside the map."""
    return Path(os.environ.get("STATE_DIRECTORY") or Path(configuration.map.path).parent) / name


def read_saved(content: bytes, kind: type[_Content], version: int) -> _Content:
    """Read the content of a file.

    Args:
        kind: what it has to be.
        version: number of the format.

    Raises:
        InputError: damaged, or of another format.
    """
    try:
        found = msgspec.json.decode(content, type=Saved).format
        if found != version:
            raise InputError(f"its format is {found}: this version of onionmx reads {version}")
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"it is damaged: {error}") from error
