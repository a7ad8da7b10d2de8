"""One step of the bench of the stores, in a process of its own: prints seconds and the most memory it took."""

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice

from msgspec.structs import replace

from onionmx.config.store import parse_store
from onionmx.config.sync import SyncSection
from onionmx.sync.state.record import DomainRecord, Established, LastAnswer
from onionmx.sync.state.store import Store
from onionmx.sync.stores import open_store
from onionmx.target import Trust
from tests.bench.bulk_sync import most_memory
from tests.onions import V3_ONION

KNOWN = 1_000_000
ROUTED_ONE_IN = 100
SAVED = 200_000
BATCH = 20_000
NOW = time.time()
"""That of this process: a whole run of sync looks at the clock."""
WEEK = 7 * 86400

_SPREAD = 7919  # no factor of KNOWN: a list is not in alphabetical order
_ROUTE = Established(((V3_ONION, 25),), Trust.UNSIGNED, NOW, NOW)


def names() -> Iterator[str]:
    """The list of a large provider."""
    for number in range(KNOWN):
        yield f"mail{number * _SPREAD % KNOWN}.example{number % 97}.org"


def answered(number: int, name: str, due_at: float) -> DomainRecord:
    """What is known of a domain that was asked."""
    record = DomainRecord(name, NOW, due_at=due_at, asked_at=NOW, ttl=3600)
    if number % ROUTED_ONE_IN:
        return replace(record, answer=LastAnswer.NONE, reason="the domain does not exist", decision="no onion MX")
    return replace(record, answer=LastAnswer.FOUND, established=_ROUTE, decision="the first onion that was seen")


def list_all(store: Store) -> float:
    """All of them are listed."""
    return _seconds(lambda: store.set_listed(names(), NOW))


def answer_all(store: Store) -> float:
    """All of them have been asked, and are due some time in the next week."""
    chance = random.Random(1)
    return _save(store, (answered(n, name, NOW + chance.uniform(3600, WEEK)) for n, name in enumerate(names())))


def answer_some(store: Store) -> float:
    """Some of them, from all over the alphabet, have been asked again."""
    chance = random.Random(2)
    asked = chance.sample(list(names()), SAVED)
    return _save(store, (answered(n, name, NOW + 2 * WEEK + n) for n, name in enumerate(asked)))


def nothing_due(store: Store) -> float:
    """All that a run does with a store when nothing is to be done."""
    return _seconds(lambda: _idle_run(store))


def _idle_run(store: Store) -> None:
    with store.run_lock():
        store.notes()
        if list(store.due(NOW)):
            raise AssertionError("something is due")
        if store.counts().listed != KNOWN:
            raise AssertionError("domains were lost")
        if sum(1 for _ in store.routed()) < KNOWN / ROUTED_ONE_IN:
            raise AssertionError("routes were lost")
        store.note(last_run="now")


def _save(store: Store, records: Iterator[DomainRecord]) -> float:
    """Without the time that making the records takes."""
    seconds = 0.0
    while batch := list(islice(records, BATCH)):
        seconds += _seconds(partial(store.save, batch))
    return seconds


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


STEPS = {step.__name__: step for step in (list_all, answer_all, answer_some, nothing_due)}


def main(step: str, place: str, password_file: str) -> None:
    """Carry out one step."""
    with closing(open_store(parse_store(place), SyncSection(store_password_file=password_file))) as store:
        seconds = STEPS[step](store)
    print(json.dumps({"seconds": seconds, "bytes": most_memory()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
