"""How often the echo has answered, and whom: kept in a file, so that neither a restart nor a new process forgets it."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from onionmx.clock import Timestamp
from onionmx.defaults import HOUR
from onionmx.echo.request import Request
from onionmx.errors import InputError
from onionmx.files import replacing
from onionmx.saved import Saved, changing, load, read_saved

PERIOD = HOUR
"""Seconds to which the limits belong."""
LIMITS = {"sender": 12, "circuit": 12, "domain": 60, "all": 240}
"""Answers in that time: to one address, to what came by one circuit, to one domain, at all."""

_FORMAT = 1
_MODE = 0o600
_MOST = 256 * 1024  # bytes; 240 answers take a quarter of that


class Answered(Struct, frozen=True):
    """When an answer was given, and for whom it counts, without saying who it is."""

    time: Timestamp
    keys: tuple[str, ...]


class _Content(Saved):
    answered: list[Answered]


def keys_of(request: Request) -> tuple[str, ...]:
    """For whom an answer to a request counts."""
    who = {"sender": request.sender.lower(), "domain": request.domain, "all": ""}
    if request.circuit is not None:
        who["circuit"] = str(request.circuit)
    return tuple(f"{kind}:{sha256(value.encode()).hexdigest()[:16]}" for kind, value in who.items())


def decide(answered: Iterable[Answered], keys: tuple[str, ...], now: Timestamp) -> tuple[str, list[Answered]]:
    """Whether one more answer may be given.

    Returns:
        Which limit is reached, empty for none; and what to keep from now on.
    """
    recent = [each for each in answered if abs(now - each.time) < PERIOD]
    for key in keys:
        kind = key.partition(":")[0]
        if sum(key in each.keys for each in recent) >= LIMITS[kind]:
            return kind, recent
    return "", [*recent, Answered(now, keys)]


def take_turn(path: Path, request: Request, now: Timestamp) -> str:
    """Count one more answer, if the limits allow it.

    Returns:
        Which limit is reached; empty if it may be given.

    Raises:
        SavedError: the file cannot be read or written: nothing may be answered then.
    """
    with changing(path, _MODE):
        content = load(path, _MOST, _read)
        reached, keep = decide(content.answered if content else (), keys_of(request), now)
        if not reached:
            with replacing(path, _MODE) as file:
                file.write(msgspec.json.encode(_Content(_FORMAT, keep)))
    return reached


def _read(content: bytes) -> _Content:
    try:
        return read_saved(content, _Content, _FORMAT)
    except InputError as error:
        raise InputError(f"{error}; delete it to begin anew") from error
