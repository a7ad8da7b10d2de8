"""The map, and what sync knows, read by the user who owns the state, not by root."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from onionmx.config import Configuration
from onionmx.doctor.as_owner import answer_as_owner, ask_as_owner
from onionmx.errors import MissingMapError, OnionmxError, TemporaryError
from onionmx.files import is_missing
from onionmx.mapfile.cdb import MapReader
from onionmx.mapfile.domains import read_local_domains
from onionmx.onion import Endpoint, format_endpoint
from onionmx.routing.memory import memories
from onionmx.status.model import CouldHaveGone, MapStatus, WaitingChange
from onionmx.sync.judge.operator import choices
from onionmx.sync.lists.recipients import FILE_NAME, opened_recipients
from onionmx.sync.pending import waiting
from onionmx.sync.setup import is_shared, opened_store, store_setting
from onionmx.sync.state import notes
from onionmx.sync.state.record import DomainRecord

MOST_WAITING = 1000
_ACCEPT = "onionmx sync --accept-change"


class StateSeen(msgspec.Struct, frozen=True):
    """What was seen.

    Attributes:
        map: the map and sync.
        could_have_gone: by the logs; `None` where sync counts none, or that could not be told.
        could_have_gone_why: why not; empty where it is there.
        sent: remote recipients in the logs by day; `None` where sync counts none, or that could not be told.
        is_whole: all of it could be read.
    """

    map: MapStatus
    could_have_gone: CouldHaveGone | None = None
    could_have_gone_why: str = ""
    sent: dict[str, int] | None = None
    is_whole: bool = True


def look_at_state(configuration: Configuration, limit: float) -> StateSeen:
    """Look at the map and at the state of sync.

    Args:
        limit: seconds.

    Raises:
        TemporaryError: nothing could be read.
    """
    owner = None
    if os.geteuid() == 0 and not is_shared(configuration.sync):
        owner = _owner(Path(store_setting(configuration)).parent)
    return msgspec.json.decode(ask_as_owner(__name__, configuration, owner, limit), type=StateSeen)


def _owner(folder: Path) -> os.stat_result | None:
    """Another user than root who owns it."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TemporaryError(f"{folder} cannot be looked at: {error.strerror}") from error
    return found if found.st_uid != 0 else None


def read_state(configuration: Configuration, now: float) -> StateSeen:
    """Read it as the user that this is; what cannot be read is left out, and `why` names it."""
    told, problems = MapStatus(path=configuration.map.path), []
    try:
        told = _with_map(told, now)
    except OnionmxError as error:
        problems.append(str(error))
    try:
        told = _with_changes(told, configuration)
    except OnionmxError as error:
        problems.append(str(error))
    could, sent, could_why = None, None, "sync counts no mail in logs (sync.logs)"
    try:
        if counted := _counted(configuration, now):
            (could, sent), could_why = counted, ""
    except OnionmxError as error:
        could_why = str(error)
        problems.append(could_why)
    why = "; ".join(filter(None, (told.why, *problems)))
    return StateSeen(replace(told, why=why), could, could_why, sent, is_whole=not problems)


def _with_map(told: MapStatus, now: float) -> MapStatus:
    try:
        with MapReader(told.path) as reader:
            entries = len(reader)
        written = Path(told.path).stat().st_mtime
    except (MissingMapError, FileNotFoundError):
        return replace(told, why="there is no map yet: `onionmx sync` makes it")
    return replace(told, entries=entries, written=written, age=max(0.0, now - written))


def _with_changes(told: MapStatus, configuration: Configuration) -> MapStatus:
    with opened_store(configuration, to_write=False) as store:
        last_run = notes.number(store.notes(), notes.LAST_RUN) or None
        held = notes.MapStamp(store, [Path(told.path)], ()).held()
        found = [change for record in waiting(store) for change in _changes(record)]
    found += [_held(domain) for domain in sorted(held)]
    found.sort(key=lambda change: change.domain)
    why = told.why
    if configuration.lookup.live and memories(configuration):
        words = "changes that live lookups have seen are not here: see `onionmx sync --pending`"
        why = "; ".join(filter(None, (why, words)))
    return replace(
        told,
        last_run=last_run,
        waiting=tuple(found[:MOST_WAITING]),
        more_waiting=max(0, len(found) - MOST_WAITING),
        why=why,
    )


def _changes(record: DomainRecord) -> Iterator[WaitingChange]:
    """The changes that wait and were not refused, each with what accepts this one and no other."""
    old = _shown(record.established.endpoints if record.established else ())
    changes = [each for each in (record.pending, *record.rivals) if each]
    for change, choice in zip(changes, choices(record), strict=False):
        if not change.is_refused:
            what = f"{old} -> {_shown(change.endpoints)}: {change.reason}"
            yield WaitingChange(domain=record.domain, what=what, since=change.since, command=f"{_ACCEPT} {choice}")
    doubt = record.doubt
    if doubt and not doubt.is_refused and not changes:
        what = f"{old} -> nothing: {doubt.reason}"
        yield WaitingChange(
            domain=record.domain, what=what, since=doubt.since, command=f"{_ACCEPT} {choices(record)[0]}"
        )


def _held(domain: str) -> WaitingChange:
    what = "its removal waits, as too many would go at once (sync.max_removal)"
    return WaitingChange(domain=domain, what=what, command=f"{_ACCEPT} {domain}=none")


def _shown(endpoints: tuple[Endpoint, ...]) -> str:
    return " ".join(map(format_endpoint, endpoints)) or "nothing"


def _counted(configuration: Configuration, now: float) -> tuple[CouldHaveGone, dict[str, int]] | None:
    """How much of the mail in the logs has a route, and how much there was each day; `None` where nobody counts."""
    path = Path(configuration.map.path).with_name(FILE_NAME)
    if is_missing(path):
        return None
    with opened_recipients(path, read_local_domains(configuration.local), now, to_write=False) as recipients:
        outgoing, sent = recipients.outgoing(Path(configuration.map.path)), recipients.by_day()
    could = CouldHaveGone(recipients=outgoing.recipients, with_route=outgoing.with_route, share=outgoing.share)
    return could, sent


if __name__ == "__main__":
    answer_as_owner(lambda configuration: read_state(configuration, time.time()))
