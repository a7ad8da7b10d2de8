"""The shared store: a Valkey or Redis server, for the syncs of several hosts.

Only sync uses it: each host has its own map, and no lookup depends on the network. What is written is as durable as the
server makes it (`appendonly yes`). Records are a hash; what is asked of all of them at once are sorted sets.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from secrets import token_hex

from onionmx import __version__
from onionmx.batches import batched
from onionmx.domain import shown
from onionmx.errors import StateError
from onionmx.onion import Endpoint
from onionmx.sync.state.encoding import (
    HISTORY_LENGTH,
    LONGEST_WAIT,
    UnreadableError,
    decode_events,
    decode_pin,
    decode_record,
    encode_event,
    encode_pin,
    encode_record,
    is_routed,
    is_waiting,
)
from onionmx.sync.state.keyed import Seal, domain_of
from onionmx.sync.state.record import DomainRecord, HistoryLine, LastAnswer
from onionmx.sync.state.store import Change, Counts, Store
from onionmx.sync.state.valkey.lock import LEASE, holder, run_lock
from onionmx.sync.state.valkey.server import (
    EVENT,
    FIRST_SEEN,
    NOTE,
    NOTES,
    PIN,
    PINS,
    PREFIX,
    RECORD,
    RECORDS,
    VERSION,
    Command,
    LostLockError,
    Part,
    Precondition,
    ValkeyConnection,
    history_of,
    text_of,
)

FORMAT = 1

_FORMAT = f"{PREFIX}format"
_WRITER = f"{PREFIX}writer"
_DUE = f"{PREFIX}due"  # the listed ones, with the time
_UNLISTED = f"{PREFIX}unlisted"  # the others, with the same
_ROUTED = f"{PREFIX}routed"
_WAITING = f"{PREFIX}waiting"
_NEVER = f"{PREFIX}never"
_FOUND = f"{PREFIX}found"
_UNKNOWN = f"{PREFIX}unknown"
_INDEXES: dict[str, Callable[[DomainRecord], bool]] = {
    _DUE: lambda record: record.listed,
    _UNLISTED: lambda record: not record.listed,
    _ROUTED: is_routed,
    _WAITING: is_waiting,
    _NEVER: lambda record: record.answer is LastAnswer.NEVER,
    _FOUND: lambda record: record.answer is LastAnswer.FOUND,
    _UNKNOWN: lambda record: record.answer is LastAnswer.UNKNOWN,
}
_TIMED = frozenset({_DUE, _UNLISTED})

_PAGE = 1000  # domains in one command
_COMMANDS = 20  # with so many each, sent at once
_REVISIONS = 100  # attempts to write before anybody else does
_TEMPORARY = 3600  # seconds that a run's own keys outlive it


class ValkeyStore(Store):
    """State on a server; see `Store`.

    Args:
        server: closed with the store.
        longest_wait: seconds; see `LONGEST_WAIT`.
        lease: seconds; see `LEASE`.

    Raises:
        StateError: the server cannot be asked, or what it holds belongs to a newer version.
    """

    def __init__(
        self,
        server: ValkeyConnection,
        seal: Seal | None = None,
        *,
        longest_wait: float = LONGEST_WAIT,
        lease: float = LEASE,
    ) -> None:
        self._server = server
        self._seal = seal or Seal()
        self._longest_wait = longest_wait
        self._lease = lease
        self._guard: Precondition | None = None
        try:
            self._check_format()
        except BaseException:
            server.close()
            raise

    def _check_format(self) -> None:
        text, others = self._server.commit([("GET", _FORMAT), ("EXISTS", RECORDS, NOTES, PINS, _DUE)])
        with self._server.translated():
            if text is None and others:
                raise UnreadableError(f"the server has lost a part of it, {_FORMAT} among others")
            found = FORMAT if text is None else _number(text)
        if text is None:
            self._server.commit([("SET", _FORMAT, FORMAT, "NX"), ("SET", _WRITER, __version__, "NX")])
        if found > FORMAT:
            writer = shown((self._server.ask("GET", _WRITER) or b"a newer one").decode(errors="replace"))
            raise StateError(
                f"state {self._server.address} has format {found} and was written by onionmx {writer}, this is onionmx "
                f"{__version__} and reads formats up to {FORMAT}: bring all hosts to the same version; the map of this "
                f"host stays"
            )

    @contextmanager
    def run_lock(self) -> Iterator[None]:
        # A write after the lock got lost is refused.
        with run_lock(self._server, self._lease) as guard:
            self._guard = guard
            try:
                yield
            finally:
                self._guard = None

    def counts(self) -> Counts:
        few = (_FOUND, _UNKNOWN, _NEVER, _WAITING)
        answers = self._server.commit([("ZCARD", _DUE), *(("ZINTERCARD", 2, _DUE, key) for key in few)])
        listed, found, unknown, never, pending = answers
        return Counts(listed, found, listed - found - unknown - never, unknown, pending)

    def set_listed(self, domains: Iterable[str], now: float) -> int:
        # The server compares; names of domains that stay as they are do not come back.
        with self._temporary("listing", "new", "gone", "back") as (listing, new, gone, back):
            self._send_in_pages(lambda names: [("SADD", listing, *names), ("EXPIRE", listing, _TEMPORARY)], domains)
            *counts, _, _, _ = self._server.commit(
                [
                    ("ZDIFFSTORE", new, 3, listing, _DUE, _UNLISTED),
                    ("ZDIFFSTORE", gone, 2, _DUE, listing),
                    ("ZINTERSTORE", back, 2, _UNLISTED, listing, "WEIGHTS", 1, 0),
                    *(("EXPIRE", key, _TEMPORARY) for key in (new, gone, back)),
                ]
            )
            # Nobody sees a record before it has a time.
            value = FIRST_SEEN.pack(now)
            for page in self._pages(new, counts[0]):
                self._commit([("HSET", RECORDS, *(part for name in page for part in (name, value)))])
            if any(counts):
                self._commit(
                    [
                        ("ZUNIONSTORE", _DUE, 3, _DUE, back, new, "WEIGHTS", 1, 1, 0, "AGGREGATE", "MAX"),
                        ("ZDIFFSTORE", _DUE, 2, _DUE, gone),
                        ("ZUNIONSTORE", _UNLISTED, 2, _UNLISTED, gone, "AGGREGATE", "MAX"),
                        ("ZDIFFSTORE", _UNLISTED, 2, _UNLISTED, back),
                        ("ZUNIONSTORE", _NEVER, 2, _NEVER, new, "WEIGHTS", 1, 0),
                        ("INCR", VERSION),
                    ]
                )
        return int(counts[0])

    def due(self, now: float, *, all_listed: bool = False) -> Iterator[str]:
        ranges: list[tuple[Part, Part]] = [("-inf", now), (f"({now + self._longest_wait!r}", "+inf")]
        for low, high in [("-inf", "+inf")] if all_listed else ranges:
            with self._temporary("due") as (key,):
                count, _ = self._server.commit(
                    [
                        ("ZRANGESTORE", key, _DUE, low, high, "BYSCORE"),
                        ("EXPIRE", key, _TEMPORARY),
                    ]
                )
                for page in self._pages(key, count):
                    yield from page

    def get(self, domains: Iterable[str]) -> dict[str, DomainRecord]:
        return {record.domain: record for page in batched(domains, _PAGE) for record in self._records(page)}

    def routed(self) -> Iterator[DomainRecord]:
        after = "-"
        while names := self._server.ask("ZRANGE", _ROUTED, after, "+", "BYLEX", "LIMIT", 0, _PAGE):
            page = self._names(names)
            yield from self._records(page)
            after = f"({page[-1]}"

    def save(self, records: Iterable[DomainRecord], history: Iterable[HistoryLine] = ()) -> None:
        self._commit(self._save_commands(records, history))

    def revise(self, domains: Iterable[str], change: Change) -> None:
        names = list(domains)
        for _ in range(_REVISIONS):
            version = self._server.ask("GET", VERSION)
            commands = self._save_commands(*change(self.get(names)))
            if version is None:
                self._server.ask("SET", VERSION, 0, "NX")
            with suppress(LostLockError):
                self._server.commit(commands, Precondition(VERSION, version or b"0"))
                return
        raise StateError(f"state {self._server.address}: others write to it all the time")

    def history(self, domain: str) -> list[HistoryLine]:
        events = self._server.ask("LRANGE", history_of(domain), 0, -1)
        with self._server.translated():
            return decode_events(domain, (self._seal.open(EVENT, domain, event) for event in events))

    def forget(self, due_before: float) -> int:
        with self._temporary("forgotten") as (key,):
            _, count, _ = self._server.commit(
                [
                    ("ZRANGESTORE", key, _UNLISTED, "-inf", f"({due_before!r}", "BYSCORE"),
                    ("ZDIFFSTORE", key, 2, key, _ROUTED),
                    ("EXPIRE", key, _TEMPORARY),
                ]
            )
            for page in self._pages(key, count):
                self._commit(
                    [
                        ("HDEL", RECORDS, *page),
                        *(("ZREM", index, *page) for index in _INDEXES),
                        ("UNLINK", *map(history_of, page)),
                        ("INCR", VERSION),
                    ]
                )
        return int(count)

    def pins(self) -> dict[str, tuple[Endpoint, ...]]:
        with self._server.translated():
            pins = {domain_of(name): value for name, value in self._server.ask("HGETALL", PINS).items()}
            return {name: decode_pin(name, text_of(self._seal.open(PIN, name, pins[name]))) for name in sorted(pins)}

    def set_pins(self, pins: Mapping[str, Sequence[Endpoint]]) -> None:
        parts: list[Part] = []
        for name, endpoints in pins.items():
            parts += (name, self._seal.close(PIN, name, encode_pin(endpoints).encode()))
        self._commit([("DEL", PINS), *([("HSET", PINS, *parts)] if parts else []), ("INCR", VERSION)])

    def notes(self) -> dict[str, str]:
        with self._server.translated():
            notes = {text_of(key): text for key, text in self._server.ask("HGETALL", NOTES).items()}
            return {key: text_of(self._seal.open(NOTE, key, text)) for key, text in notes.items()}

    def note(self, **texts: str) -> None:
        if texts:
            sealed = {key: self._seal.close(NOTE, key, text.encode()) for key, text in texts.items()}
            self._commit([("HSET", NOTES, *(part for item in sealed.items() for part in item))])

    def close(self) -> None:
        self._server.close()

    def _commit(self, commands: Iterable[Command]) -> None:
        try:
            self._server.commit(commands, self._guard)
        except LostLockError as error:
            raise StateError(
                f"state {self._server.address}: this run lost the lock to {holder(self._server)}, and wrote nothing "
                f"since: it stops; the other one goes on, and the map of this host stays"
            ) from error

    def _save_commands(self, records: Iterable[DomainRecord], history: Iterable[HistoryLine]) -> Iterator[Command]:
        for page in batched(records, _PAGE):
            yield "HSET", RECORDS, *(part for record in page for part in (record.domain, self._value(record)))
            for key, belongs in _INDEXES.items():
                members: list[Part] = []
                others: list[str] = []
                for record in page:
                    if belongs(record):
                        members += (record.due_at if key in _TIMED else 0, record.domain)
                    else:
                        others.append(record.domain)
                if members:
                    yield "ZADD", key, *members
                if others:
                    yield "ZREM", key, *others
        for domain, lines in groupby(history, lambda line: line.domain):
            events = (self._seal.close(EVENT, domain, encode_event(line)) for line in lines)
            yield "RPUSH", history_of(domain), *events
            yield "LTRIM", history_of(domain), -HISTORY_LENGTH, -1
        yield "INCR", VERSION

    def _records(self, domains: Sequence[str]) -> Iterator[DomainRecord]:
        answers = self._server.commit(
            [
                ("HMGET", RECORDS, *domains),
                ("ZMSCORE", _DUE, *domains),
                ("ZMSCORE", _UNLISTED, *domains),
            ]
        )
        for domain, value, due_at, was_due_at in zip(domains, *answers, strict=True):
            time = was_due_at if due_at is None else due_at
            if time is None:
                continue
            with self._server.translated():
                if value is None or len(value) < FIRST_SEEN.size:
                    raise UnreadableError(f"the record of {domain!r} is missing")
                is_bare = len(value) == FIRST_SEEN.size  # as `set_listed` wrote it for many at once
                content = value if is_bare else self._seal.open(RECORD, domain, value)
                (first_seen,) = FIRST_SEEN.unpack_from(content)
                detail = content[FIRST_SEEN.size :]
                record = decode_record(domain, detail, first_seen=first_seen, listed=due_at is not None, due_at=time)
            yield record

    def _pages(self, key: str, count: int) -> Iterator[list[str]]:
        """Members of a sorted set of our own, in its order."""
        for start in range(0, count, _PAGE):
            names, _ = self._server.commit(
                [
                    ("ZRANGE", key, start, start + _PAGE - 1),
                    ("EXPIRE", key, _TEMPORARY),
                ]
            )
            if len(names) != min(_PAGE, count - start):
                raise StateError(f"state {self._server.address}: {key} went away while it was read; run again")
            yield self._names(names)

    def _send_in_pages(self, commands: Callable[[list[str]], list[Command]], domains: Iterable[str]) -> None:
        for some in batched(batched(domains, _PAGE), _COMMANDS):
            self._server.send(command for page in some for command in commands(page))

    def _names(self, names: Iterable[bytes]) -> list[str]:
        with self._server.translated():
            return list(map(domain_of, names))

    def _value(self, record: DomainRecord) -> bytes:
        value = FIRST_SEEN.pack(record.first_seen) + encode_record(record)
        return self._seal.close(RECORD, record.domain, value) if len(value) > FIRST_SEEN.size else value

    @contextmanager
    def _temporary(self, *names: str) -> Iterator[tuple[str, ...]]:
        token = token_hex(8)
        keys = tuple(f"{PREFIX}run:{token}:{name}" for name in names)
        try:
            yield keys
        finally:
            # They end by themselves too.
            with suppress(StateError):
                self._server.ask("UNLINK", *keys)


def _number(text: bytes) -> int:
    if not text.isdigit():
        raise UnreadableError(f"{text[:40]!r} is not a number")
    return int(text)
