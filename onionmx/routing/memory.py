"""What live lookups remember of domains: the records of sync's judge, in a store of their own or in a shared one.

The store is written by a thread. What comes while it writes is written together next, so that many lookups at once cost
one write to the disk.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import Struct

from onionmx.clock import Clock
from onionmx.config import Configuration
from onionmx.config.lookup import MEMORY_NAME
from onionmx.config.store import parse_store
from onionmx.domain import Domain
from onionmx.errors import ConfigurationError
from onionmx.files import is_missing
from onionmx.saved import saved_in
from onionmx.sync.judge.policy import Verdict
from onionmx.sync.judge.schedule import LONGEST_STRETCH
from onionmx.sync.state.bounded import BoundedStore
from onionmx.sync.state.encoding import is_routed, is_waiting
from onionmx.sync.state.notes import open_routes
from onionmx.sync.state.overlay import DryRunStore
from onionmx.sync.state.record import DomainRecord, HistoryLine
from onionmx.sync.state.store import Store
from onionmx.sync.stores import open_store

Change = Callable[[DomainRecord | None], Verdict]
"""Decides what becomes of a record, or of a domain without one. May be called several times, in a thread."""

_DAEMONS = ("serve", "relay")


class Kept(Struct, frozen=True):
    """What is known of a domain from now on.

    Attributes:
        record: what follows from the answer.
        is_remembered: false where there was no room for it.
    """

    record: DomainRecord
    is_remembered: bool


class _Wish(Struct, frozen=True):
    domain: str
    change: Change
    future: "asyncio.Future[Kept]"


class _Forgetting(DryRunStore):
    """What is written is forgotten; the store below has nobody else who would close it."""

    def close(self) -> None:
        """Close the store below."""
        if self._base is not None:
            self._base.close()


class Memory:
    """Records of domains, for one event loop.

    Args:
        open_it: opens the store, when it is first needed; it is opened again where that failed.
        is_shared: it has records of sync too, whose lists of domains are not touched.
    """

    def __init__(self, open_it: Callable[[], Store], *, is_shared: bool = False, clock: Clock = time.time) -> None:
        self._open_it = open_it
        self._is_shared = is_shared
        self._clock = clock
        self._store: Store | None = None
        self._wishes: list[_Wish] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="onionmx-memory")

    @classmethod
    def from_configuration(cls, configuration: Configuration, *, to_write: bool = True) -> "Memory":
        """The memory that the configuration names.

        Args:
            configuration: where it is, and how large.
            to_write: else what is written to it is forgotten.
        """
        place = memory_place(configuration) if to_write else next(iter(memories(configuration)), None)

        def open_it() -> Store:
            if place is None:
                return DryRunStore(None)
            store = open_memory(configuration, place)
            return store if to_write else _Forgetting(store)

        is_shared = place is not None and not isinstance(parse_store(place), Path)
        return cls(open_it, is_shared=is_shared)

    def blank(self, domain: str, now: float) -> DomainRecord:
        """The record of a domain of which nothing is known."""
        return DomainRecord(domain, now, listed=not self._is_shared)

    async def revise(self, domain: Domain, change: Change) -> Kept:
        """Change what is known of a domain, with nobody's change in between.

        A record that protects nothing is not kept: most domains have no onion MX and never had one.

        Raises:
            StateError: the store cannot be opened, read or written.
        """
        future: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
        self._wishes.append(_Wish(domain, change, future))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await future

    async def waiting(self) -> list[DomainRecord]:
        """Domains with a change that waits.

        Raises:
            StateError: the store cannot be opened or read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._all_waiting)

    async def close(self) -> None:
        """Write what is under way, and close the store."""
        if self._writing is not None:
            await self._writing
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._wishes:
                wishes, self._wishes = self._wishes, []
                for wish, result in await loop.run_in_executor(self._thread, self._apply_all, wishes):
                    if wish.future.done():
                        continue  # the one who asked has gone
                    if isinstance(result, Kept):
                        wish.future.set_result(result)
                    else:
                        wish.future.set_exception(result)
        finally:
            self._writing = None

    # In the thread.

    def _apply_all(self, wishes: list[_Wish]) -> list[tuple[_Wish, Kept | Exception]]:
        try:
            return list(zip(wishes, self._apply(wishes), strict=True))
        except Exception as error:  # noqa: BLE001 -- it is handed to who waits for it
            if len(wishes) == 1:
                return [(wishes[0], error)]
        # One damaged record is the fault of one domain.
        return [pair for wish in wishes for pair in self._apply_all([wish])]

    def _apply(self, wishes: list[_Wish]) -> list[Kept]:
        store = self._opened()
        names = {wish.domain for wish in wishes}
        known = store.get(names)
        kept, written, events = self._decide(wishes, known, set())
        if not written:
            return kept
        new = {record.domain for record in written if record.domain not in known}
        full = {domain for domain in new if isinstance(store, BoundedStore) and not store.room(self._clock())}
        if self._is_shared and any(record.listed for record in written):
            open_routes(store)  # else no map would be made of it

        def change(records: dict[str, DomainRecord]) -> tuple[list[DomainRecord], list[HistoryLine]]:
            nonlocal kept, written, events
            if full or records != known:
                kept, written, events = self._decide(wishes, records, full)
            return written, events

        store.revise(names - full, change)
        return kept

    @staticmethod
    def _decide(
        wishes: list[_Wish], records: dict[str, DomainRecord], full: set[str]
    ) -> tuple[list[Kept], list[DomainRecord], list[HistoryLine]]:
        written: dict[str, DomainRecord] = {}
        history: list[HistoryLine] = []
        kept = []
        for wish in wishes:
            before = written.get(wish.domain) or records.get(wish.domain)
            verdict = wish.change(before)
            is_remembered = wish.domain not in full
            kept.append(Kept(verdict.record, is_remembered))
            if is_remembered and verdict.record != before and (before is not None or protects(verdict.record)):
                written[wish.domain] = verdict.record
                history += verdict.history
        return kept, list(written.values()), history

    def _opened(self) -> Store:
        if self._store is None:
            self._store = self._open_it()
        return self._store

    def _all_waiting(self) -> list[DomainRecord]:
        return [record for record in self._opened().routed() if is_waiting(record)]

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


def protects(record: DomainRecord) -> bool:
    """Whether a domain would be more at risk without what is remembered of it."""
    return is_routed(record) or record.former is not None or record.removal is not None or record.doubt is not None


def memory_place(configuration: Configuration) -> str:
    """Where this process has its memory of live lookups, as `lookup.memory` writes it or would have to."""
    return configuration.lookup.memory or str(saved_in(configuration, MEMORY_NAME))


def memories(configuration: Configuration) -> list[str]:
    """All memories of live lookups that there are on this host, beside that of sync: its own, and those of services.

    Services without `lookup.memory` have theirs in folders that systemd names after them.
    """
    if configuration.lookup.memory:
        places = [configuration.lookup.memory]
    else:
        folder = Path(configuration.map.path).absolute().parent
        services = [folder.with_name(f"{folder.name}-{daemon}") / MEMORY_NAME for daemon in _DAEMONS]
        places = [memory_place(configuration), *map(str, services)]
    return [place for place in dict.fromkeys(places) if not _is_missing(place)]


def _is_missing(place: str) -> bool:
    path = parse_store(place, "lookup.memory")
    if not isinstance(path, Path):
        return False
    try:
        return is_missing(path)
    except ConfigurationError:
        return False  # opening it says why


def open_memory(configuration: Configuration, place: str) -> Store:
    """Open a memory; the caller closes it.

    Args:
        configuration: how large it may be, and the password of a server.
        place: see `memory_place`.

    Raises:
        ConfigurationError: the password of a server cannot be read.
        StateError: it cannot be opened, is damaged, or belongs to a newer version.
    """
    settings = configuration.sync
    longest_wait = settings.max_interval * LONGEST_STRETCH
    parsed = parse_store(place, "lookup.memory")
    if isinstance(parsed, Path):
        return BoundedStore(parsed, configuration.lookup.memory_size, longest_wait=longest_wait)
    return open_store(parsed, settings, longest_wait=longest_wait)
