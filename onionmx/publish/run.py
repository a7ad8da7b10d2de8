"""Publishing from beginning to end: read, compare, update, and look at all name servers."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import dns.name
import dns.tsig

from onionmx.config import DnsSection
from onionmx.publish.authority import DNS_PORT
from onionmx.publish.change import ChangeResult, RecordChange
from onionmx.publish.exchange import Exchange
from onionmx.publish.primary import Primary, Refusal
from onionmx.publish.records import OnionMxRecords
from onionmx.publish.verify import Verification, Verifier

_FIRST_PAUSE = 1.0  # seconds between two looks at servers that lag; a NOTIFY takes about as long
_LONGEST_PAUSE = 15.0


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What became of the records of all domains.

    Attributes:
        changes: what was there and what was wanted, for each domain that could be read.
        outcomes: for every domain. Without an update, what one would do.
        updates: update messages sent.
    """

    changes: tuple[RecordChange, ...]
    outcomes: Mapping[str, ChangeResult | Refusal]
    updates: int

    @property
    def made(self) -> tuple[RecordChange, ...]:
        """Changes that were made, or would be."""
        return tuple(
            change
            for change in self.changes
            if change.outcome is not ChangeResult.SAME and self.outcomes[change.wanted.domain] is change.outcome
        )

    @property
    def standing(self) -> tuple[RecordChange, ...]:
        """Those whose records are as wanted, changed or not."""
        return tuple(change for change in self.changes if not isinstance(self.outcomes[change.wanted.domain], Refusal))


async def publish(
    wanted: Iterable[OnionMxRecords], server: tuple[str, int], key: dns.tsig.Key | None, *, dry_run: bool
) -> PublishReport:
    """Bring the records on the primary name server to what is wanted.

    Args:
        wanted: one for each domain.
        server: address and port of the primary.
        key: signs the updates; `None` for a server that takes unsigned ones.
        dry_run: only compare.

    Raises:
        UpdateRefusedError: the server refuses the key; nothing was changed.
        UpdateError: the server cannot be asked; nothing was changed.
    """
    by_domain = {each.domain: each for each in wanted}
    async with Exchange(server, key) as exchange:
        primary = Primary(exchange, key)
        readings = await primary.read(by_domain)
        outcomes: dict[str, ChangeResult | Refusal] = {}
        changes: list[RecordChange] = []
        for domain, reading in readings.items():
            if isinstance(reading, Refusal):
                outcomes[domain] = reading
                continue
            change = RecordChange(by_domain[domain], reading)
            changes.append(change)
            outcomes[domain] = change.outcome
        if not dry_run:
            outcomes |= await primary.update(each for each in changes if each.outcome is not ChangeResult.SAME)
        return PublishReport(tuple(changes), outcomes, primary.updates)


async def verify(  # noqa: PLR0913 -- the parts of one run, each given once
    wanted: Sequence[OnionMxRecords],
    settings: DnsSection,
    on_answer: Callable[[Verification], None],
    *,
    zones: Mapping[str, dns.name.Name],
    wait: float = 0.0,
    port: int = DNS_PORT,
) -> list[Verification]:
    """Ask every name server of every domain's zone.

    Args:
        wanted: what they are to serve.
        settings: the resolver that knows the name servers.
        on_answer: called for each domain at each look.
        zones: of the domains, where known.
        wait: seconds for which to look again at those that do not serve it everywhere.
        port: of all name servers.

    Raises:
        ConfigurationError: there is no resolver, or it is to be asked through Tor.
    """
    deadline = time.monotonic() + wait
    found: dict[str, Verification] = {}
    pause = _FIRST_PAUSE
    while True:
        # A new one each time: zones are looked at again too.
        verifier = Verifier(settings, port)

        async def look(each: OnionMxRecords, verifier: Verifier = verifier) -> None:
            result = await verifier.check(each.domain, each.targets, zones.get(each.domain))
            found[each.domain] = result
            on_answer(result)

        left = [each for each in wanted if each.domain not in found or not found[each.domain].complete]
        await asyncio.gather(*map(look, left))
        if all(result.complete for result in found.values()) or time.monotonic() + pause > deadline:
            return [found[each.domain] for each in wanted]
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
