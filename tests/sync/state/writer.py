"""A process that saves batch after batch and says so after each, until it is killed."""

import sys
from itertools import count
from pathlib import Path

from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.sqlite import SqliteStore

from .records import routed, taken

SHARED = 300
"""Domains that each batch writes anew."""


def main(path: Path) -> None:
    """Save, from the batch on that is not there yet."""
    store = SqliteStore(path)
    last = max((int(record.decision) for record in store.routed()), default=0)
    for number in count(last + 1):
        same = (routed(f"{index}.example.org", decision=str(number)) for index in range(SHARED))
        own = DomainRecord(f"batch-{number}.example.org", float(number))
        store.save([own, *same], [taken("0.example.org", number)])
        print(number, flush=True)  # noqa: T201 -- what the test reads


if __name__ == "__main__":
    main(Path(sys.argv[1]))
