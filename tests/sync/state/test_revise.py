"""What is decided about a record is decided about the record as it is, even if others write at the same time."""

from concurrent.futures import ThreadPoolExecutor

from msgspec.structs import replace

from onionmx.sync.state.record import DomainRecord, HistoryLine
from onionmx.sync.state.store import Store

from .conftest import Open

WRITERS = 4
TIMES = 25


def test_no_change_of_another_writer_is_lost(open_it: Open) -> None:
    def change(found: dict[str, DomainRecord]) -> tuple[list[DomainRecord], list[HistoryLine]]:
        record = found.get("a.example") or DomainRecord("a.example", 1.0)
        return [replace(record, failures=record.failures + 1)], []

    def write(store: Store) -> None:
        for _ in range(TIMES):
            store.revise(["a.example"], change)

    stores = [open_it() for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(write, stores))
    assert stores[0].get(["a.example"])["a.example"].failures == WRITERS * TIMES
    for store in stores:
        store.close()
