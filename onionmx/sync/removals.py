"""Removals that wait: too many at once are a mistake, or somebody's lever; everything else is published meanwhile."""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from onionmx.authenticate.proof.published import PublishedDemands
from onionmx.config.sync import SyncSection
from onionmx.errors import MissingMapError
from onionmx.mapfile.cdb import parse_value
from onionmx.sync.build import DEFERRING, Base, Changes, NextMap
from onionmx.sync.report import MOST_DECISIONS, Decision, RunResult
from onionmx.sync.state.record import How
from onionmx.sync.state.store import Store

_NAMED = 5  # domains that a message names


def by_operator(store: Store, changes: Changes) -> set[str]:
    """The domains that would go because the operator accepted that by name."""
    records = store.get(changes.removed).values()
    return {each.domain for each in records if each.removal and each.removal.how is How.OPERATOR}


def deferrals(store: Store, changes: Changes, now: float) -> dict[str, float]:
    """Until when the mail of domains waits that would go, in seconds since 1970; those whose time is not over yet."""
    records = store.get([domain for domain, old in changes.removed.items() if old == DEFERRING]).values()
    return {each.domain: each.defers_until for each in records if now < each.defers_until}


def over(changes: Changes, waits: Container[str]) -> set[str]:
    """The domains whose mail has waited, and does so no more; see `deferrals`."""
    return {domain for domain, old in changes.removed.items() if old == DEFERRING and domain not in waits}


def held_back(
    changes: Changes, known: Collection[str], base: Base, settings: SyncSection, free: Container[str] = ()
) -> list[str]:
    """The domains that stay in the map although nothing speaks for them any more, in alphabetical order.

    Those that a run would remove beyond the share that it may; each waits until the operator has looked, or until it
    is to stay after all, so that a run after a run does not take the share again. What the operator removed by name,
    by `--accept-change`, as a local or a pinned domain, never waits, and neither does what has deferred for its time.

    Args:
        changes: between the maps.
        known: domains that wait already.
        base: pins and local domains.
        settings: how much a run may remove.
        free: domains that the operator removed by name, or whose mail must not wait any longer.
    """
    counted = [domain for domain in changes.removed if not base.has(domain) and domain not in free]
    new = [domain for domain in counted if domain not in known]
    if len(new) < settings.min_removal or len(new) <= settings.max_removal * changes.old:
        new = []
    return sorted({*new, *(domain for domain in counted if domain in known)})


def keep(new: NextMap, changes: Changes, held: Iterable[str], map_path: Path, waits: Mapping[str, float]) -> NextMap:
    """The next map with what is held back in it, each with its old value and demand; they leave the changes.

    Args:
        changes: between the maps.
        held: domains.
        map_path: of the old map.
        waits: see `deferrals`.

    Raises:
        MapError: the demands of the old map cannot be read.
    """
    values, demands = dict(new.values), dict(new.demands)
    ends = [new.until] if new.until else []
    published = PublishedDemands(map_path)
    try:
        for domain in held:
            values[domain] = changes.removed.pop(domain)
            if domain in waits:
                ends.append(waits[domain])
            try:
                demand = published.get(domain)
            except MissingMapError:
                continue
            if demand is not None:
                demands[domain] = demand
    finally:
        published.close()
    return NextMap({domain: values[domain] for domain in sorted(values)}, demands, min(ends, default=0.0))


def in_words(held: Collection[str], old: int, settings: SyncSection) -> str:
    """What waits, and what to do; empty where nothing does.

    Args:
        held: domains.
        old: number of entries in the old map.
        settings: how much a run may remove.
    """
    if not held:
        return ""
    names = ", ".join(islice(sorted(held), _NAMED))
    more = f" and {len(held) - _NAMED} more" if len(held) > _NAMED else ""
    return (
        f"{len(held)} of {old} entries would go ({names}{more}), more at once than sync.max_removal "
        f"({settings.max_removal:.0%}) allows: they stay, everything else is published. `onionmx explain DOMAIN` tells "
        f"why; `onionmx sync --accept` removes them"
    )


def decisions(held: Iterable[str], new: NextMap) -> Iterator[Decision]:
    """What to say of those that begin to wait, as far as a summary names them."""
    reason = "nothing speaks for it any more, but too much would go at once; `onionmx sync --accept` removes it"
    for domain in islice(held, MOST_DECISIONS):
        endpoints = parse_value(new.values[domain])
        yield Decision(domain, RunResult.WAITING, endpoints, endpoints, reason=reason)
