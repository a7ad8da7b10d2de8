"""What onion MXes announced, in a file, so that a restart does not slow down the first messages.

JSON, with a version. Several processes may share the file: each keeps what the others have written.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec

from onionmx.clock import Timestamp
from onionmx.config import Configuration
from onionmx.errors import InputError
from onionmx.files import replacing
from onionmx.onion import Endpoint, parse_onion
from onionmx.relay.sessions.recent import REMEMBERED
from onionmx.saved import Saved, SavedError, changing, load, read_saved, saved_in
from onionmx.smtp.extensions import Extensions

FORMAT = 1
NAME = "announced"
LASTING = 7 * 86400.0
"""Seconds for which it is remembered."""
MAX_SIZE = 8 << 20
"""Bytes of the file."""
_MODE = 0o600  # it tells to whom this host writes


class Announced(msgspec.Struct, frozen=True):
    """What one onion MX announced.

    Attributes:
        onion: its name.
        port: its port.
        extensions: as announced by EHLO; it was also seen to read the data of a BDAT that it refused.
        until: seconds since 1970 up to which this is remembered.
        refuses_early: it does not take a transaction right behind EHLO.
    """

    onion: str
    port: int
    extensions: Extensions
    until: Timestamp
    refuses_early: bool = False


class _Content(Saved):
    announced: list[Announced]


def announced_file(configuration: Configuration) -> Path:
    """Where what this service knows of them is."""
    return saved_in(configuration, NAME)


def read_announced(path: Path, now: Timestamp) -> dict[Endpoint, Announced]:
    """Read what `write_announced` wrote, but for what has expired.

    Args:
        path: the file; where there is none, nothing is known.

    Raises:
        SavedError: it cannot be read, or is damaged.
    """
    return load(path, MAX_SIZE, partial(parse_announced, now=now)) or {}


def parse_announced(content: bytes, now: Timestamp) -> dict[Endpoint, Announced]:
    """Read the content of the file.

    Raises:
        InputError: damaged, or of another version.
    """
    found = read_saved(content, _Content, FORMAT).announced
    try:
        onions = [parse_onion(each.onion) for each in found]
    except InputError as error:
        raise InputError(f"it is damaged: {error}") from error
    # A clock that was wrong makes nothing that is never forgotten.
    return {
        (onion, each.port): each for onion, each in zip(onions, found, strict=True) if now < each.until <= now + LASTING
    }


def write_announced(path: Path, changed: Mapping[Endpoint, Announced | None], now: Timestamp) -> None:
    """Change the file, and leave in it what others have written there.

    Args:
        path: the file; its folder is made.
        changed: by onion and port; `None` removes what is there.

    Raises:
        SavedError: it could not be written; the old one stays.
    """
    with changing(path, _MODE):
        try:
            merged: Mapping[Endpoint, Announced | None] = read_announced(path, now)
        except SavedError:
            merged = {}  # written anew
        kept = [each for each in {**merged, **changed}.values() if each is not None]
        newest = sorted(kept, key=lambda each: each.until)[-REMEMBERED:]
        with replacing(path, _MODE) as file:
            file.write(msgspec.json.encode(_Content(FORMAT, newest)))
