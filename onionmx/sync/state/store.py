"""Where records are kept: one interface, with an embedded and a shared implementation."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from onionmx.onion import Endpoint
from onionmx.sync.state.record import DomainRecord, HistoryLine

Change = Callable[[dict[str, DomainRecord]], tuple[Iterable[DomainRecord], Iterable[HistoryLine]]]
"""Decides what becomes of records: those that are to be written, and their history. May be called several times."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of the listed domains there are, and what DNS said of them last; those never asked are the rest.

    Attributes:
        listed: all.
        found: with an onion MX.
        none: without.
        unknown: for which it could not be told.
        pending: with a change that waits and is not refused.
    """

    listed: int = 0
    found: int = 0
    none: int = 0
    unknown: int = 0
    pending: int = 0


class Store(Protocol):
    """The memory of sync.

    Every method raises `StateError` where the store cannot be read or written; the text says what to do. What `save`
    has returned from is durable, and of a batch that it did not return from, all or nothing is there.
    """

    def run_lock(self) -> AbstractContextManager[None]:
        """Be the only one who runs sync on this store; raises `LockedError` while another one does."""

    def counts(self) -> Counts:
        """Numbers of the listed domains; may look at each of them."""

    def set_listed(self, domains: Iterable[str], now: float) -> int:
        """Make these the listed domains, and no others; new ones are due at once. Returns how many are new.

        Must hold for a million domains in seconds, and without a Python object for each record.
        """

    def due(self, now: float, *, all_listed: bool = False) -> Iterator[str]:
        """Listed domains that are to be asked now, those due first first; with `all_listed`, every one.

        Records may be saved meanwhile.
        """

    def get(self, domains: Iterable[str]) -> dict[str, DomainRecord]:
        """Records of these domains, as far as there are any."""

    def routed(self) -> Iterator[DomainRecord]:
        """All records with an established or a pending route, in alphabetical order."""

    def save(self, records: Iterable[DomainRecord], history: Iterable[HistoryLine] = ()) -> None:
        """Write records, in one transaction, and add to the history, of which the last `HISTORY_LENGTH` are kept."""

    def revise(self, domains: Iterable[str], change: Change) -> None:
        """Read records and write what becomes of them, with nobody's write to them in between; as `save` does."""

    def history(self, domain: str) -> list[HistoryLine]:
        """Events of a domain, the oldest first."""

    def forget(self, due_before: float) -> int:
        """Remove domains that no list has any more, that have no route, and that were due before then.

        Returns:
            How many.
        """

    def pins(self) -> dict[str, tuple[Endpoint, ...]]:
        """The pins that several hosts share, in alphabetical order; those pinned to none have no endpoints."""

    def set_pins(self, pins: Mapping[str, Sequence[Endpoint]]) -> None:
        """Make these the pins, and no others."""

    def notes(self) -> Mapping[str, str]:
        """Short texts about runs, such as the time of the last one and the digest of its lists."""

    def note(self, **texts: str) -> None:
        """Write some of them."""

    def close(self) -> None:
        """End the use of the store."""
