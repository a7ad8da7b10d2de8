"""What `onionmx sync` prints."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from onionmx.cli.options import write_json
from onionmx.errors import MissingMapError
from onionmx.mapfile.cdb import COULD_NOT_TELL, DEFERS, MapReader, format_value
from onionmx.onion import Endpoint
from onionmx.sync.lists.outgoing import Outgoing
from onionmx.sync.report import Decision, RunResult, Summary
from onionmx.sync.state import notes
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.store import Store

REPORTED = (RunResult.ADDED, RunResult.CHANGED, RunResult.REMOVED, RunResult.UNDECIDED, RunResult.WAITING)
COUNTED = (RunResult.ADDED, RunResult.CHANGED, RunResult.REMOVED, RunResult.KEPT, RunResult.UNDECIDED)


def shown_time(seconds: float) -> str:
    """A time as people read it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def shown_endpoints(endpoints: tuple[Endpoint, ...]) -> str:
    """Onions in a line, or that the map defers."""
    if endpoints == DEFERS:
        return f"mail waits ({COULD_NOT_TELL})"
    return format_value(endpoints).decode()


def print_summary(summary: Summary, *, quiet: bool) -> None:
    """Print what a run did.

    Args:
        quiet: print nothing where there is nothing to say.
    """
    reported = [decision for decision in summary.decisions if decision.outcome in REPORTED]
    if quiet and not reported and not summary.omitted:
        return
    for decision in summary.decisions:
        if decision.outcome in REPORTED:
            click.echo(f"{decision.outcome:<9} {decision.domain}: {described(decision)}")
        for note in decision.notes:
            click.echo(f"note      {decision.domain}: {note}")
    if summary.omitted:
        click.echo(f"and {summary.omitted} more")
    if summary.refusal:
        click.echo(f"held      {summary.refusal}")
    counts = [f"{summary.count(outcome)} {outcome}" for outcome in COUNTED]
    counts.append(f"{summary.count(RunResult.WITHOUT)} without an onion MX")
    if summary.waiting:
        counts.append(f"{summary.waiting} waiting (onionmx sync --pending)")
    where = f"{summary.map} not written (dry run)" if summary.is_dry_run else summary.map
    if summary.is_led_elsewhere:
        where += "; another sync is asking DNS, this one only built the map"
    click.echo(f"{', '.join(counts)}; {where}")
    if summary.outgoing:
        click.echo(summary.outgoing)


def summary_as_json(summary: Summary) -> dict[str, Any]:
    """What a run did, for programs."""
    return {
        "map": summary.map,
        "dry_run": summary.is_dry_run,
        "led_elsewhere": summary.is_led_elsewhere,
        "started": summary.started,
        "seconds": summary.seconds,
        "listed": summary.listed,
        "asked": summary.asked,
        "entries": summary.entries,
        "published": summary.is_published,
        "refusal": summary.refusal,
        "held": summary.held,
        "counts": {str(outcome): count for outcome, count in summary.counts.items()},
        "waiting": summary.waiting,
        "domains": summary.decisions,
        "omitted": summary.omitted,
        "outgoing": outgoing_as_json(summary.outgoing) if summary.outgoing else None,
    }


def outgoing_as_json(outgoing: Outgoing) -> dict[str, Any]:
    """How much of the mail could go over onion services, for programs."""
    return {"recipients": outgoing.recipients, "with_route": outgoing.with_route, "share": outgoing.share}


def print_pending(records: list[tuple[DomainRecord, str]], held: list[str], *, as_json: bool) -> None:
    """Print the changes that wait, and those that were refused.

    Args:
        records: with the memory of live lookups that they are from; empty where they are from sync's.
        held: domains whose removal from the map waits (sync.max_removal).
        as_json: for programs.
    """
    if as_json:
        names = ("domain", "established", "pending", "rivals", "refused", "doubt", "keeps_unproven")
        write_json(
            [{name: getattr(record, name) for name in names} | {"memory": place or None} for record, place in records]
            + [{"domain": domain, "held_removal": True} for domain in held]
        )
        return
    waiting = refused = 0
    for record, place in records:
        of = record.domain + (f" (live lookups, {place})" if place else "")
        old = shown_endpoints(record.established.endpoints) if record.established else "nothing"
        changes = [each for each in (record.pending, *record.rivals) if each]
        for each in changes:
            since = shown_time(each.since)
            click.echo(f"{of}: {old} -> {_or_nothing(each.endpoints)}; since {since}: {each.reason}")
        if doubt := record.doubt:
            click.echo(f"{of}: {old} -> nothing; since {shown_time(doubt.since)}: {doubt.reason}")
        seen = {frozenset(each.endpoints) for each in changes}
        unseen = [each for each in record.refused if frozenset(each) not in seen]
        for endpoints in unseen:
            click.echo(f"{of}: {old} -> {_or_nothing(endpoints)}; refused by the operator, not seen now")
        is_unseen_doubt = record.keeps_unproven and record.doubt is None
        if is_unseen_doubt:
            click.echo(f"{of}: {old} -> nothing; an end for want of a proof, refused by the operator, not seen now")
        flags = [each.is_refused for each in changes] + [each.is_refused for each in (record.doubt,) if each]
        waiting += flags.count(False)
        refused += flags.count(True) + len(unseen) + is_unseen_doubt
    for domain in held:
        click.echo(f"{domain}: its removal waits, as too many would go at once (sync.max_removal)")
    click.echo(f"{waiting + len(held)} waiting, {refused} refused")
    if refused:
        click.echo("onionmx sync --allow-change DOMAIN takes a refusal back")


def _or_nothing(endpoints: tuple[Endpoint, ...]) -> str:
    return shown_endpoints(endpoints) if endpoints else "nothing"


def print_status(store: Store, map_path: str, *, as_json: bool) -> None:
    """Print what is known, and when the last run was."""
    known = store.notes()
    counts = store.counts()
    last_run = notes.number(known, notes.LAST_RUN) or None
    held = notes.MapStamp(store, [Path(map_path)], ()).why_held() or None
    entries = None
    with suppress(MissingMapError), MapReader(map_path) as reader:
        entries = len(reader)
    if as_json:
        status = {"last_run": last_run, "map": map_path, "entries": entries, "held": held, "domains": counts}
        write_json(status)
        return
    click.echo(f"last run   {shown_time(last_run) if last_run else 'never'}")
    click.echo(f"map        {map_path}: {'missing' if entries is None else f'{entries} entries'}")
    unasked = counts.listed - counts.found - counts.none - counts.unknown
    click.echo(
        f"domains    {counts.listed} listed: {counts.found} with an onion MX, {counts.none} without, "
        f"{counts.unknown} could not be told, {unasked} not asked yet"
    )
    click.echo(f"waiting    {counts.pending} changes")
    if held:
        click.echo(f"held       {held}")


def described(decision: Decision) -> str:
    """What becomes of a domain, or why nothing does."""
    new = shown_endpoints(decision.new)
    kept = f"keeps {new}" if new else "it has no entry to keep"
    match decision.outcome:
        case RunResult.ADDED:
            return f"{new} ({decision.source}, {decision.trust})"
        case RunResult.CHANGED:
            return f"{shown_endpoints(decision.old)} -> {new} ({decision.source}, {decision.trust})"
        case RunResult.UNDECIDED:
            return decision.reason if decision.new == DEFERS else f"{decision.reason}; {kept}"
        case RunResult.WAITING:
            return f"{decision.reason}; {kept if decision.new else 'it has no entry until then'}"
        case _:
            return decision.reason
