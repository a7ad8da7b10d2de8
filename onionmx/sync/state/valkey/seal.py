"""Giving a shared store that is in use a key: each entry that was written without one gets its MAC.

What is there is taken as it is. It can be begun again after an interruption, and a second time after a host without
the key has written: entries that have their MAC stay as they are.
"""

from collections.abc import Callable, Iterator

from onionmx.errors import StateError
from onionmx.sync.state.encoding import UnreadableError, decode_events, decode_pin, decode_record
from onionmx.sync.state.keyed import LONGEST_ENTRY, Seal, domain_of
from onionmx.sync.state.valkey.lists import MOST_OF_A_LIST, read_list
from onionmx.sync.state.valkey.lock import run_lock
from onionmx.sync.state.valkey.server import (
    EVENT,
    FIRST_SEEN,
    LIST,
    LISTS,
    NOTE,
    NOTES,
    PIN,
    PINS,
    RECORD,
    RECORDS,
    VERSION,
    Command,
    LostLockError,
    Precondition,
    ValkeyConnection,
    history_of,
    text_of,
)

_PAGE = 1000  # domains at once
_REVISIONS = 100  # attempts to write before anybody else does


def seal_store(server: ValkeyConnection, seal: Seal) -> int:
    """Give all entries their MAC, while no sync runs on the store.

    Args:
        server: with the store.

    Returns:
        How many got one.

    Raises:
        LockedError: a sync is at work.
        StateError: the server cannot be asked, or an entry was written with another key or is damaged.
    """
    with run_lock(server):
        count = 0
        cursor = None
        while cursor != 0:
            cursor, some = server.ask("HSCAN", RECORDS, cursor or 0, "COUNT", _PAGE)
            with server.translated():
                domains = [domain_of(name) for name in some]
            if domains:
                count += _revised(server, lambda names=domains: _of_domains(server, seal, names))  # type: ignore[misc]
        return count + _revised(server, lambda: _of_tables(server, seal))


def _revised(server: ValkeyConnection, find: Callable[[], tuple[list[Command], int]]) -> int:
    """Write what becomes of entries, with nobody's write in between."""
    server.ask("SET", VERSION, 0, "NX")
    for _ in range(_REVISIONS):
        guard = Precondition(VERSION, server.ask("GET", VERSION))
        with server.translated():
            commands, count = find()
        if not commands:
            return 0
        try:
            server.commit([*commands, ("INCR", VERSION)], guard)
        except LostLockError:
            continue
        return count
    raise StateError(f"state {server.address}: others write to it all the time")


def _of_domains(server: ValkeyConnection, seal: Seal, domains: list[str]) -> tuple[list[Command], int]:
    commands: list[Command] = []
    count = 0
    values, *histories = server.commit(
        [("HMGET", RECORDS, *domains), *(("LRANGE", history_of(name), 0, -1) for name in domains)]
    )
    for name, value, events in zip(domains, values, histories, strict=True):
        if value is not None and len(value) > FIRST_SEEN.size:  # else it needs none
            new = _sealed(seal, RECORD, name, value, _check_record)
            if new != value:
                commands.append(("HSET", RECORDS, name, new))
                count += 1
        sealed = [_sealed(seal, EVENT, name, event, _check_event) for event in events]
        if sealed != events:
            commands += [("DEL", history_of(name)), ("RPUSH", history_of(name), *sealed)]
            count += sum(one != other for one, other in zip(sealed, events, strict=True))
    return commands, count


def _of_tables(server: ValkeyConnection, seal: Seal) -> tuple[list[Command], int]:
    commands: list[Command] = []
    tables: Iterator[tuple[str, str, Callable[[str, bytes], object], int]] = iter(
        (
            (PINS, PIN, lambda name, value: decode_pin(name, text_of(value)), LONGEST_ENTRY),
            (NOTES, NOTE, lambda _, value: text_of(value), LONGEST_ENTRY),
            (LISTS, LIST, read_list, MOST_OF_A_LIST),
        )
    )
    for key, kind, check, longest in tables:
        for field, value in server.ask("HGETALL", key).items():
            new = _sealed(seal, kind, field.decode(errors="replace"), value, check, longest)
            if new != value:
                commands.append(("HSET", key, field, new))
    return commands, len(commands)


def _sealed(  # noqa: PLR0913, PLR0917 -- what an entry is
    seal: Seal,
    kind: str,
    name: str,
    value: bytes,
    check: Callable[[str, bytes], object],
    longest: int = LONGEST_ENTRY,
) -> bytes:
    try:
        seal.open(kind, name, value, longest)
    except UnreadableError:
        check(name, value)
        return seal.close(kind, name, value)
    return value


def _check_record(domain: str, value: bytes) -> None:
    (first_seen,) = FIRST_SEEN.unpack_from(value)
    decode_record(domain, value[FIRST_SEEN.size :], first_seen=first_seen, listed=True, due_at=0.0)


def _check_event(domain: str, value: bytes) -> None:
    decode_events(domain, [value])
