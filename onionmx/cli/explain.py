"""`onionmx explain`."""

import time
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from onionmx.cli.live import opened_memories
from onionmx.cli.options import configuration_option, json_option, map_option, warn, with_map, write_json
from onionmx.cli.state_user import become_owner
from onionmx.cli.sync_report import shown_endpoints, shown_time
from onionmx.config import Configuration
from onionmx.domain import normalize
from onionmx.errors import MissingMapError, StateError
from onionmx.mapfile.cdb import MapReader
from onionmx.onion import Endpoint
from onionmx.sync.build import Base
from onionmx.sync.explain import Explanation, explain
from onionmx.sync.judge.looks import requirement_of
from onionmx.sync.setup import opened_store, own_pins, read_base
from onionmx.sync.state.record import DomainRecord, How
from onionmx.sync.state.store import Store

_BY = {
    How.SIGNED: "a signed answer said that there is none",
    How.OPERATOR: "the operator accepted its end",
    How.UNSIGNED: "unsigned answers said so for long enough",
    How.SILENCE: "DNS had not answered for too long",
}
_WIDTH = 12  # columns of what is on the left


@click.command()
@click.argument("domain")
@configuration_option
@map_option
@click.option("--pins", metavar="FILE", help="Pins (default: sync.pins of the configuration).")
@json_option
def command(
    domain: str, configuration: Configuration, map_path: str | None, pins: str | None, *, as_json: bool
) -> None:
    """Tell why the map has what it has for DOMAIN, and what would change that.

    Source, the last answer of DNS, trust, changes that wait, what the domain demands of its MX, the proof that the
    onion MX has made, and what happened so far. DNS is not asked.

    Exit codes: 0 told; 64 not a domain; 75 map or state cannot be read; 78 configuration or pins are wrong.
    """
    name = normalize(domain)
    configuration = with_map(configuration, map_path)
    memories = click.get_current_context().with_resource(opened_memories(configuration))
    become_owner(Path(configuration.map.path).parent, configuration.sync.secrets().values())
    pinned = own_pins(configuration, pins)
    with opened_store(configuration, to_write=False) as store:
        base = read_base(configuration, store.pins() if pinned is None else pinned)
        published = _published(Path(configuration.map.path), name)
        explanation = explain(name, published, store, base, time.time())
    live = _live(name, memories, base)
    if as_json:
        write_json(
            {
                **msgspec.to_builtins(explanation),
                "live": [{"memory": place, **msgspec.to_builtins(found)} for place, found in live.items()],
            }
        )
    else:
        _print(explanation)
        for place, found in live.items():
            _print_live(place, found)


def _live(domain: str, memories: Mapping[str, Store], base: Base) -> dict[str, Explanation]:
    """What the memories of live lookups have, where they know the domain."""
    found: dict[str, Explanation] = {}
    for place, store in () if base.has(domain) else memories.items():
        try:
            explanation = explain(domain, None, store, base, time.time())
        except StateError as error:
            warn(str(error))
            continue
        if explanation.record is not None:
            found[place] = explanation
    return found


def _published(path: Path, domain: str) -> tuple[Endpoint, ...] | None:
    try:
        with MapReader(path) as reader:
            return reader.get(domain)
    except MissingMapError:
        return None


def _print(found: Explanation) -> None:
    click.echo(found.domain)
    published = shown_endpoints(found.published) if found.published else "no entry"
    _line("map", published)
    if found.endpoints != (found.published or ()):
        wanted = shown_endpoints(found.endpoints) if found.endpoints else "no entry"
        _line("", f"{wanted} after the next `onionmx sync`")
    _line("because", found.why)
    if found.endpoints:
        _line("source", f"{found.source}, {found.trust}")
    _line("trust", f"{found.belief}")
    _print_rest(found)


def _print_live(place: str, found: Explanation) -> None:
    click.echo(f"  live lookups, which ask where the map has no entry; {place}")
    _line("route", shown_endpoints(found.endpoints) if found.endpoints else "none")
    _line("because", found.why)
    _print_rest(found)


def _print_rest(found: Explanation) -> None:
    if found.record:
        _print_record(found.record)
    for index, change in enumerate(found.what_would_change_it):
        _line("" if index else "changes it", change)
    for index, line in enumerate(found.history):
        endpoints = f" {shown_endpoints(line.endpoints)}" if line.endpoints else ""
        _line("" if index else "history", f"{shown_time(line.at)} {line.event}{endpoints}: {line.words}")


def _print_record(record: DomainRecord) -> None:
    _line("listed", f"since {shown_time(record.first_seen)}" if record.listed else "not any more")
    if record.asked_at is None:
        _line("DNS", "never asked")
    else:
        reason = f": {record.reason}" if record.reason else ""
        ttl = "" if record.ttl is None else f", TTL {record.ttl} s"
        _line("DNS", f"{record.answer}{reason} at {shown_time(record.asked_at)}{ttl}")
        _line("", f"next question at {shown_time(record.due_at)}")
    if record.failures:
        _line("", f"{record.failures} failed lookups in a row, since {shown_time(record.failing_since)}")
    for name, route in (("route", record.established), ("before", record.former)):
        if route:
            seen = f"taken {shown_time(route.since)}, last seen {shown_time(route.last_seen)}"
            _line(name, f"{shown_endpoints(route.endpoints)} ({route.trust}), {seen}")
    for each in filter(None, (record.pending, *record.rivals)):
        what = shown_endpoints(each.endpoints) if each.endpoints else "no onion MX"
        _line("waiting", f"{what}, since {shown_time(each.since)}: {each.reason}")
    if record.doubt:
        _line("waiting", f"an end for want of a proof, since {shown_time(record.doubt.since)}: {record.doubt.reason}")
    for endpoints in record.refused:
        _line("refused", shown_endpoints(endpoints) if endpoints else "no onion MX")
    if record.keeps_unproven:
        _line("refused", "an end for want of a proof")
    if record.removal:
        _line("no route", f"{_BY[record.removal.how]}, {shown_time(record.removal.at)}")
    _line_of_proof(record)


def _line_of_proof(record: DomainRecord) -> None:
    if record.requirement_expires:
        requirement = requirement_of(record)
        what = "no certificate of its MX"
        if requirement:
            what = f"{requirement.demand.kind}: {', '.join(requirement.demand.names)}"
            if requirement.trouble:
                what += f" (until {shown_time(requirement.expires)}; not fetched again: {requirement.trouble})"
        _line("demands", f"{what}; looked at again at {shown_time(record.requirement_expires)}")
    if record.proof:
        proof = record.proof
        times = f"shown {shown_time(proof.made_at)}, until {shown_time(proof.expires)}"
        _line("proof", f"{proof.policy}: {', '.join(proof.names)} by {shown_endpoints(proof.endpoints)}, {times}")


def _line(name: str, text: str) -> None:
    click.echo(f"  {name:<{_WIDTH}}{text}")
