"""Whether the onion services of this host are reached from outside, as `onionmx watch` has seen it."""

from msgspec.structs import replace

from onionmx.clock import Timestamp
from onionmx.config import Configuration
from onionmx.saved import SavedError
from onionmx.smtp.printable import printable
from onionmx.status.model import OnionsStatus, OnionStatus
from onionmx.watch.judge import Reach, Watched
from onionmx.watch.probing import longest_probe
from onionmx.watch.state import last_state

UNKNOWN_FROM_OUTSIDE = "nobody has looked from outside: `onionmx watch --once` does"
_ROUNDS = 3
"""Of the watch, after which it does not run any more."""
_REACHABLE = {Reach.REACHABLE: True, Reach.FAILED: False, Reach.UNKNOWN: None}


def with_watch(configuration: Configuration, found: OnionStatus, now: Timestamp) -> OnionStatus:
    """What is known of a service, with what the watch has seen of it, unless it has not looked for some rounds."""
    try:
        watched = _watched(configuration, now)
    except SavedError as error:
        return replace(found, reachable_why=_unreadable(error))
    seen = next((one for one in watched if one.onion == found.onion), None)
    return replace(found, reachable_why=UNKNOWN_FROM_OUTSIDE) if seen is None else _with(found, seen)


def onions_watched(configuration: Configuration, now: Timestamp) -> OnionsStatus:
    """The services that the watch looks at, for those who may not ask tor."""
    try:
        watched = _watched(configuration, now)
    except SavedError as error:
        return OnionsStatus(services=None, why=_unreadable(error))
    if not watched:
        return OnionsStatus(services=None, why=UNKNOWN_FROM_OUTSIDE)
    return OnionsStatus(services=tuple(_with(OnionStatus(onion=seen.onion), seen) for seen in watched))


def _watched(configuration: Configuration, now: Timestamp) -> list[Watched]:
    state = last_state(configuration, now)
    settings = configuration.watch
    oldest = now - _ROUNDS * (settings.interval + longest_probe(settings))
    return [seen for seen in state.services if seen.told >= oldest] if state else []


def _with(found: OnionStatus, seen: Watched) -> OnionStatus:
    reachable = _REACHABLE[seen.reach]
    since = None if reachable is None else seen.since
    return replace(found, reachable=reachable, reachable_since=since, reachable_why=printable(seen.words))


def _unreadable(error: SavedError) -> str:
    return f"what onionmx watch knows cannot be read: {error}"
