"""One run of sync: read, ask, decide, publish."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onionmx.answer import Answer, CouldNotTell
from onionmx.config import Configuration, MapSection
from onionmx.errors import DnsError
from onionmx.mapfile.cdb import MapReader
from onionmx.mapfile.domains import own_answer
from onionmx.mapfile.entries import Entries
from onionmx.mapfile.pins import pinned_answer
from onionmx.mapfile.publish import mark_checked, publish, publish_records, writer_lock
from onionmx.mapfile.transport import transport_records
from onionmx.onion import Endpoint
from onionmx.sync.discover import discover
from onionmx.sync.plan import Plan, make_plan
from onionmx.tor.resolver import srv_resolver


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run is asked to look at.

    Attributes:
        pins: endpoints of the pinned domains, empty for `none`.
        domains: to be asked in DNS.
        own: of this host, which never enter the map.
    """

    pins: Entries
    domains: Sequence[str]
    own: frozenset[str] = frozenset()

    @property
    def questions(self) -> list[str]:
        """Domains that are left to ask: pins override DNS, and own domains are not routed."""
        return [domain for domain in self.domains if domain not in self.pins and domain not in self.own]


async def synchronize(
    configuration: Configuration,
    inputs: Inputs,
    on_answer: Callable[[Answer], None],
    *,
    dry_run: bool = False,
) -> Plan:
    """Bring the map up to date.

    Args:
        configuration: where the map is, and how DNS is asked.
        inputs: pins and domains.
        on_answer: called with the final answer of each question.
        dry_run: decide, but write nothing.

    Returns:
        What was decided, and, without `dry_run`, published.

    Raises:
        LockedError: another run is at work on this map.
        MapError: the old map cannot be read, or the new one not be written; the old one stays.
        DnsError: every lookup failed; nothing was published.
    """
    path = Path(configuration.map.path)
    if dry_run:
        return await _decide(configuration, inputs, _read_map(path), on_answer)
    with writer_lock(path):
        old = _read_map(path)
        plan = await _decide(configuration, inputs, old, on_answer)
        _publish(configuration.map, old, plan)
        mark_checked(path)
    return plan


async def _decide(
    configuration: Configuration, inputs: Inputs, old: Entries, on_answer: Callable[[Answer], None]
) -> Plan:
    answers = {domain: pinned_answer(domain, endpoints) for domain, endpoints in inputs.pins.items()}
    if inputs.questions:
        resolver = srv_resolver(configuration.dns, configuration.tor)
        try:
            asked = await discover(inputs.questions, resolver.ask, configuration.dns, on_answer)
        finally:
            resolver.close()
        _refuse_if_all_failed(asked.values())
        answers |= asked
    named = {*old, *inputs.pins, *inputs.domains}
    return make_plan(old, answers | {domain: own_answer(domain) for domain in inputs.own & named})


def _refuse_if_all_failed(answers: Iterable[Answer]) -> None:
    failed = [answer for answer in answers if isinstance(answer, CouldNotTell)]
    if len(failed) == len(list(answers)):
        raise DnsError(f"every lookup failed ({len(failed)}), nothing was published; the last one: {failed[-1].reason}")


def _read_map(path: Path) -> dict[str, tuple[Endpoint, ...]]:
    if not path.exists():
        return {}
    with MapReader(path) as reader:
        return dict(reader.entries())


def _publish(settings: MapSection, old: Entries, plan: Plan) -> None:
    path = Path(settings.path)
    entries = plan.entries
    if entries != old or not path.exists():
        publish(path, entries)
    if settings.transport_path:
        _publish_transport(settings, entries)


def _publish_transport(settings: MapSection, entries: Entries) -> None:
    path = Path(settings.transport_path)
    records = dict(transport_records(entries, settings.transport, settings.transport_result))
    if path.exists():
        with MapReader(path) as reader:
            if dict(reader.records()) == records:
                return
    publish_records(path, records.items())
