"""The file in which the relay keeps which destinations fail and what it has delivered, so that a restart loses neither.

JSON, with a version. Several workers share it: each adds what it has counted and keeps what the others have written.
"""

from collections.abc import Mapping
from datetime import date
from functools import partial
from pathlib import Path

import msgspec

from onionmx.clock import Timestamp, day_of
from onionmx.config import Configuration
from onionmx.defaults import DAY
from onionmx.domain import normalize
from onionmx.errors import InputError
from onionmx.files import replacing
from onionmx.onion import parse_onion
from onionmx.saved import Saved, SavedError, changing, load, read_saved, saved_in
from onionmx.status.model import DayCount, FailingDestination, FailureKind
from onionmx.text import printable_ascii

FORMAT = 1
NAME = "deliveries"
MAX_SIZE = 16 << 20
"""Bytes of the file."""
MOST_FAILING = 10_000
"""Destinations that are remembered: strangers can name as many as they like."""
MOST_DOMAINS = 3
"""Domains of a destination that are remembered."""
MOST_REASON = 300
"""Characters of a reason that are remembered."""
DAYS = 31
FORGOTTEN = 10 * DAY
"""Seconds after the last failure: an MTA has given up long before (Exim 4 days, Postfix 5)."""
_MODE = 0o600  # it tells to whom this host writes
_SERVICE = "relay"

Key = tuple[str, int, str]
"""Onion, port, and the domain of a failure that concerns this domain alone; empty for one that concerns all."""
Days = dict[str, DayCount]
"""Counts by day."""


class Deliveries(msgspec.Struct, frozen=True):
    """What the file holds.

    Attributes:
        failing: by what they concern.
        days: counts by day.
    """

    failing: Mapping[Key, FailingDestination] = {}
    days: Mapping[str, DayCount] = {}


class _Content(Saved):
    failing: list[FailingDestination]
    days: list[DayCount]


def deliveries_file(configuration: Configuration) -> Path:
    """Where the relay of this process has the file."""
    return saved_in(configuration, NAME)


def places(configuration: Configuration) -> list[Path]:
    """Where a relay on this host may have the file: the folder of its unit, and beside the map."""
    folder = Path(configuration.map.path).absolute().parent
    return [folder.with_name(f"{folder.name}-{_SERVICE}") / NAME, folder / NAME]


def key_of(failing: FailingDestination) -> Key:
    """What a failure concerns."""
    is_of_domain = failing.kind is FailureKind.NOT_PROVEN and failing.domains
    return failing.onion, failing.port, failing.domains[0] if is_of_domain else ""


def added(days: Mapping[str, DayCount], more: Mapping[str, DayCount]) -> Days:
    """The sum of counts, by day."""
    summed = dict(days)
    for day, count in more.items():
        old = summed.get(day) or DayCount(day=day)
        summed[day] = DayCount(
            day=day,
            delivered=old.delivered + count.delivered,
            deferred=old.deferred + count.deferred,
            refused=old.refused + count.refused,
        )
    return summed


def read_deliveries(path: Path, now: Timestamp) -> Deliveries | None:
    """Read what `write_deliveries` wrote, but for what is forgotten by now.

    Args:
        path: the file.

    Returns:
        `None` where there is no file.

    Raises:
        SavedError: it cannot be read, or is damaged.
    """
    return load(path, MAX_SIZE, partial(parse_deliveries, now=now))


def parse_deliveries(content: bytes, now: Timestamp) -> Deliveries:
    """Read the content of the file.

    Raises:
        InputError: damaged, or of another version.
    """
    whole = read_saved(content, _Content, FORMAT)
    try:
        return kept({key_of(_checked(each)): each for each in whole.failing}, _by_day(whole.days), now)
    except ValueError as error:
        raise InputError(f"it is damaged: {error}") from error


def check_told(failing: tuple[FailingDestination, ...], days: tuple[DayCount, ...]) -> None:
    """Refuse destinations and days that cannot be.

    Raises:
        ValueError: one cannot.
    """
    for each in failing:
        _checked(each)
    _by_day(days)


def _checked(failing: FailingDestination) -> FailingDestination:
    if parse_onion(failing.onion) != failing.onion:
        raise InputError(f"{failing.onion} is not in normal form")
    for domain in failing.domains:
        if normalize(domain) != domain:
            raise InputError(f"{domain!r} is not in normal form")
    if len(failing.domains) > MOST_DOMAINS or failing.reason != printable_ascii(failing.reason)[:MOST_REASON]:
        raise InputError(f"too much is said of {failing.onion}")
    return failing


def _by_day(days: list[DayCount] | tuple[DayCount, ...]) -> Days:
    found: Days = {}
    for each in days:
        date.fromisoformat(each.day)
        found[each.day] = each
    return found


def kept(failing: Mapping[Key, FailingDestination], days: Mapping[str, DayCount], now: Timestamp) -> Deliveries:
    """What is remembered of it: so much as the limits allow, and nothing that a wrong clock has put into the future."""
    newest = sorted(
        (item for item in failing.items() if now - FORGOTTEN < item[1].last <= now + DAY), key=lambda item: item[1].last
    )
    known = sorted(day for day in days if day <= day_of(now + DAY))
    return Deliveries(dict(newest[-MOST_FAILING:]), {day: days[day] for day in known[-DAYS:]})


def write_deliveries(
    path: Path, changed: Mapping[Key, FailingDestination | None], counted: Mapping[str, DayCount], now: Timestamp
) -> Deliveries:
    """Change the file, and leave in it what others have written there.

    Args:
        path: the file; its folder is made.
        changed: by what they concern; `None` where it fails no more.
        counted: what is to be added.

    Returns:
        What it holds now.

    Raises:
        SavedError: it could not be written; the old one stays.
    """
    with changing(path, _MODE):
        try:
            old = read_deliveries(path, now) or Deliveries()
        except SavedError:
            old = Deliveries()  # written anew
        failing = {key: each for key, each in {**old.failing, **changed}.items() if each is not None}
        new = kept(failing, added(old.days, counted), now)
        if new != old or not path.exists():
            with replacing(path, _MODE) as file:
                content = _Content(FORMAT, list(new.failing.values()), list(new.days.values()))
                file.write(msgspec.json.encode(content))
    return new
