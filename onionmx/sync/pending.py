"""Changes that wait for the operator's word."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from onionmx.clock import Timestamp
from onionmx.domain import normalize
from onionmx.errors import UsageError
from onionmx.sync.judge.operator import NO_ROUTE, choices
from onionmx.sync.judge.policy import Verdict, accept, allow, refuse
from onionmx.sync.state.notes import open_routes
from onionmx.sync.state.record import DomainRecord, HistoryLine
from onionmx.sync.state.store import Store

Settle = Callable[[DomainRecord, float], Verdict | None]


def waiting(store: Store) -> Iterator[DomainRecord]:
    """Listed domains with a change that waits or was refused, in alphabetical order."""
    known = (record for record in store.routed() if record.listed)
    return (record for record in known if record.pending or record.doubt or record.refused or record.keeps_unproven)


@dataclass(frozen=True, slots=True)
class Words:
    """The operator's words on changes.

    Attributes:
        accepted: domains whose change is made now; each perhaps with `=` and the onions of that change, or `=none`.
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
        accepted = (word.partition("=") for word in self.accepted)
        return Words(
            tuple(f"{normalize(domain)}{sign}{onion.lower()}" for domain, sign, onion in accepted),
            tuple(map(normalize, self.refused)),
            tuple(map(normalize, self.allowed)),
        )

    @property
    def accepted_domains(self) -> tuple[str, ...]:
        """The domains whose change is made now."""
        return tuple(word.partition("=")[0] for word in self.accepted)

    def about(self, domains: set[str]) -> "Words":
        """Those about some domains."""
        some = (self.accepted, self.refused, self.allowed)
        return Words(*(tuple(word for word in each if word.partition("=")[0] in domains) for each in some))

    def wanted(self) -> dict[str, Settle]:
        """What they make of each domain.

        Raises:
            UsageError: they contradict each other.
        """
        accepted, refused, allowed = set(self.accepted_domains), set(self.refused), set(self.allowed)
        onions: dict[str, str] = {}
        for domain, sign, name in (word.partition("=") for word in self.accepted):
            if sign and not name:
                raise UsageError(f"{domain}=: expected the onions of the change, or {NO_ROUTE}")
            if onions.setdefault(domain, name) != name:
                raise UsageError(f"{domain}: only one change can be accepted")
        if both := sorted(accepted & refused | (accepted | refused) & allowed):
            raise UsageError(f"{', '.join(both)}: either accept, refuse or allow the change")
        wanted: dict[str, Settle] = {domain: partial(accept, onions=onions[domain]) for domain in sorted(accepted)}
        return wanted | dict.fromkeys(sorted(refused), refuse) | dict.fromkeys(sorted(allowed), allow)


def settle_everywhere(stores: Sequence[Store], words: Words, now: Timestamp, held: Collection[str] = ()) -> None:
    """Take the operator's words in each store in which they change something.

    Args:
        stores: the first one is that of sync, in which nobody else changes anything meanwhile.
        words: about domains in normal form.
        held: domains in the map whose removal waits (sync.max_removal); to accept one needs no change in a store.

    Raises:
        UsageError: they change nothing of a domain in any store, or contradict each other; nothing was changed.
        StateError: a store cannot be read or written.
    """
    wanted = words.wanted()
    known = [store.get(wanted) for store in stores]
    _check_one(known, {word for word in words.accepted if "=" not in word})
    known_in: list[set[str]] = [set() for _ in stores]
    refusals: dict[str, UsageError] = {}
    for records, domains in zip(known, known_in, strict=True):
        for domain, record in records.items():
            try:
                if wanted[domain](record, now) is not None:
                    domains.add(domain)
            except UsageError as error:  # the named change may wait in another one
                refusals[domain] = error
    unknown = wanted.keys() - set().union(*known_in)
    unknown -= set(held) & {word.removesuffix(f"={NO_ROUTE}") for word in words.accepted}
    if refused := sorted(unknown & refusals.keys()):
        raise refusals[refused[0]]
    known_in[0] |= unknown  # said of the first one, before anything is changed
    for store, domains in zip(stores, known_in, strict=True):
        if domains:
            settle(store, words.about(domains), now)


def _check_one(known: Iterable[Mapping[str, DomainRecord]], domains: Collection[str]) -> None:
    """Refuse to accept what is not named where stores know of several changes: one of them may be forged.

    Raises:
        UsageError: they do.
    """
    found: dict[str, set[str]] = {}
    for record in (record for records in known for record in records.values() if record.domain in domains):
        found.setdefault(record.domain, set()).update(choices(record))
    for domain, words in found.items():
        if len(words) > 1:
            raise UsageError(f"{domain}: several changes wait: expected one of {', '.join(sorted(words))}")


def settle(store: Store, words: Words, now: Timestamp) -> list[DomainRecord]:
    """Make some of the changes that wait, refuse others, and take refusals back; all or none.

    Args:
        store: in which nobody else changes anything meanwhile.
        words: with domains in normal form.

    Returns:
        What is known of these domains from now on.

    Raises:
        UsageError: no change of one of them waits, or was refused, or one is to be two of these.
        StateError: it cannot be saved; nothing was changed.
    """
    wanted = words.wanted()
    settled: list[DomainRecord] = []

    def change(records: dict[str, DomainRecord]) -> tuple[list[DomainRecord], list[HistoryLine]]:
        verdicts = {domain: wanted[domain](record, now) for domain, record in records.items()}
        made = [verdict for verdict in verdicts.values() if verdict is not None]
        if without := sorted(domain for domain in wanted if verdicts.get(domain) is None):
            what = "waits" if set(without) - set(words.allowed) else "was refused"
            raise UsageError(f"no change {what} for {', '.join(without)}: see `onionmx sync --pending`")
        settled[:] = [verdict.record for verdict in made]
        return settled, [line for verdict in made for line in verdict.history]

    change(store.get(wanted))
    open_routes(store)
    # A memory of live lookups may be written meanwhile.
    store.revise(wanted, change)
    return settled
