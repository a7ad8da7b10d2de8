"""What was seen of failures, in a file, so that a restart of the relay does not begin at zero: JSON, with a version."""

from functools import partial
from pathlib import Path

import msgspec

from onionmx.clock import Timestamp
from onionmx.config import Configuration
from onionmx.domain import normalize
from onionmx.errors import InputError
from onionmx.fallback.observed import DOMAINS, FORGOTTEN, Kept
from onionmx.files import replacing
from onionmx.onion import parse_onion, parse_port
from onionmx.saved import Saved, changing, load, read_saved, saved_in

FORMAT = 1
NAME = "fallback"
MAX_SIZE = 16 << 20
"""Bytes of the file."""
_MODE = 0o600  # it tells to whom this host writes


class _Content(Saved):
    written: Timestamp
    kept: Kept


def memory_file(configuration: Configuration) -> Path:
    """Where what this service has seen is."""
    return saved_in(configuration, NAME)


def read_memory(path: Path, now: Timestamp) -> Kept | None:
    """Read what `write_memory` wrote; `None` where there is no file.

    Times of failure that are older than `FORGOTTEN`, or from the future, are left out.

    Raises:
        SavedError: it cannot be read, or is damaged.
    """
    return load(path, MAX_SIZE, partial(parse_memory, now=now))


def parse_memory(content: bytes, now: Timestamp) -> Kept:
    """Read the content of the file.

    Raises:
        InputError: damaged, or of another version.
    """
    read = read_saved(content, _Content, FORMAT)
    kept = read.kept
    if len(kept.failed) > DOMAINS:
        raise InputError(f"it is damaged: more than {DOMAINS} domains")
    for domain, (targets, failed) in kept.failed.items():
        if normalize(domain) != domain or not targets or not 0 <= failed < float("inf"):
            raise InputError("it is damaged: a domain without onions, or an impossible time")
    endpoints = [*kept.answered, *(each for targets, _ in kept.failed.values() for each in targets)]
    for onion, port in endpoints:
        if parse_onion(onion) != onion or parse_port(str(port)) != port:
            raise InputError("it is damaged: not an onion")
    return kept if 0 <= now - read.written <= FORGOTTEN else Kept({}, kept.answered)


def write_memory(path: Path, kept: Kept, now: Timestamp) -> None:
    """Write the file anew.

    Raises:
        SavedError: it could not be written; the old one stays.
    """
    with changing(path, _MODE), replacing(path, _MODE) as file:
        file.write(msgspec.json.encode(_Content(FORMAT, now, kept)))
