"""What a daemon keeps in a file of its own, so that a restart forgets nothing: JSON, with the number of its format."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from onionmx.config import Configuration
from onionmx.errors import InputError, TemporaryError
from onionmx.files import locked, open_regular

_Content = TypeVar("_Content", bound="Saved")
_Read = TypeVar("_Read")


class SavedError(TemporaryError):
    """The file cannot be read or written."""


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


def load(path: Path, most: int, parse: Callable[[bytes], _Read]) -> _Read | None:
    """Read a file.

    Args:
        most: bytes that it may have.
        parse: makes something of its content, or raises `InputError`.

    Returns:
        What was made; `None` where there is no file.

    Raises:
        SavedError: it cannot be read, is too large or damaged.
    """
    try:
        with open_regular(path) as file:  # root reads those of services too, who own the folder
            content = file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SavedError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise SavedError(f"{path}: larger than {most} bytes")
    try:
        return parse(content)
    except InputError as error:
        raise SavedError(f"{path}: {error}") from error


@contextmanager
def changing(path: Path, mode: int) -> Iterator[None]:
    """Read and write a file that other processes change too; its folder is made.

    Args:
        mode: permissions of its lock.

    Raises:
        SavedError: it could not be written; the old one stays.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path, mode):
            yield
    except OSError as error:
        raise SavedError(f"{path} cannot be written: {error.strerror}; the old one stays") from error
