"""Changes that wait for the operator's word."""

from collections.abc import Callable, Collection, Iterator

from onionmx.errors import UsageError
from onionmx.sync.notes import open_routes
from onionmx.sync.policy import Verdict, accept, refuse
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.store import Store

Settle = Callable[[DomainRecord, float], Verdict | None]


def waiting(store: Store) -> Iterator[DomainRecord]:
    """Listed domains with a change that waits or was refused, in alphabetical order."""
    return (record for record in store.routed() if record.listed and record.pending)


def settle(store: Store, accepted: Collection[str], refused: Collection[str], now: float) -> list[DomainRecord]:
    """Make some of the changes that wait, and refuse others; all or none.

    Args:
        store: in which nobody else changes anything meanwhile.
        accepted: domains in normal form.
        refused: likewise.
        now: seconds since 1970.

    Returns:
        What is known of these domains from now on.

    Raises:
        UsageError: no change of one of them waits, or one is to be both.
        StateError: it cannot be saved; nothing was changed.
    """
    if both := sorted(set(accepted) & set(refused)):
        raise UsageError(f"{', '.join(both)}: either accept or refuse the change")
    wanted: dict[str, Settle] = dict.fromkeys(accepted, accept)
    wanted |= dict.fromkeys(refused, refuse)
    records = store.get(wanted)
    verdicts = []
    without = []
    for domain, how in wanted.items():
        verdict = how(records[domain], now) if domain in records else None
        if verdict is None:
            without.append(domain)
        else:
            verdicts.append(verdict)
    if without:
        raise UsageError(f"no change waits for {', '.join(sorted(without))}: see `onionmx sync --pending`")
    open_routes(store)
    settled = [verdict.record for verdict in verdicts]
    store.save(settled, [line for verdict in verdicts for line in verdict.history])
    return settled
