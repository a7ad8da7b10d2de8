"""Changes that wait for the operator's word."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from onionmx.domain import normalize
from onionmx.errors import UsageError
from onionmx.sync.notes import open_routes
from onionmx.sync.policy import Verdict, accept, allow, refuse
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.store import Store

Settle = Callable[[DomainRecord, float], Verdict | None]


def waiting(store: Store) -> Iterator[DomainRecord]:
    """Listed domains with a change that waits or was refused, in alphabetical order."""
    known = (record for record in store.routed() if record.listed)
    return (record for record in known if record.pending or record.doubt or record.refused)


@dataclass(frozen=True, slots=True)
class Words:
    """The operator's words on changes.

    Attributes:
        accepted: domains whose change is made now.
        refused: domains that keep what they have.
        allowed: domains of which a refusal is taken back.
    """

    accepted: Collection[str] = ()
    refused: Collection[str] = ()
    allowed: Collection[str] = ()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.accepted or self.refused or self.allowed)

    def normalized(self) -> "Words":
        """The same with domains in normal form.

        Raises:
            DomainError: one of them is no domain.
        """
        return Words(*(tuple(map(normalize, some)) for some in (self.accepted, self.refused, self.allowed)))


def settle(store: Store, words: Words, now: float) -> list[DomainRecord]:
    """Make some of the changes that wait, refuse others, and take refusals back; all or none.

    Args:
        store: in which nobody else changes anything meanwhile.
        words: with domains in normal form.
        now: seconds since 1970.

    Returns:
        What is known of these domains from now on.

    Raises:
        UsageError: no change of one of them waits, or was refused, or one is to be two of these.
        StateError: it cannot be saved; nothing was changed.
    """
    accepted, refused, allowed = set(words.accepted), set(words.refused), set(words.allowed)
    if both := sorted(accepted & refused | (accepted | refused) & allowed):
        raise UsageError(f"{', '.join(both)}: either accept, refuse or allow the change")
    wanted: dict[str, Settle] = dict.fromkeys(sorted(accepted), accept)
    wanted |= dict.fromkeys(sorted(refused), refuse) | dict.fromkeys(sorted(allowed), allow)
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
        what = "waits" if set(without) - allowed else "was refused"
        raise UsageError(f"no change {what} for {', '.join(sorted(without))}: see `onionmx sync --pending`")
    open_routes(store)
    settled = [verdict.record for verdict in verdicts]
    store.save(settled, [line for verdict in verdicts for line in verdict.history])
    return settled
