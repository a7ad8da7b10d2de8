"""What `onionmx publish` says of what it did."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from onionmx.errors import EXIT_CONFIGURATION, EXIT_FOUND, EXIT_TEMPORARY
from onionmx.publish.change import ChangeResult, RecordChange
from onionmx.publish.primary import Refusal
from onionmx.publish.run import PublishReport
from onionmx.publish.verify import ServerState, ServerView, Verification

EXIT_DIFFERENT = 1  # as diff(1)
_NAMES_SHOWN = 3  # domains in a line that speaks of many
_WIDTH_OF_A_FILE = 160  # columns, where the output goes to no terminal


def exit_code(published: PublishReport | None, looked: Iterable[Verification], *, dry_run: bool) -> int:
    """The exit code: the most serious of what happened to the domains."""
    codes = {EXIT_FOUND}
    if published is not None:
        refusals = [outcome for outcome in published.outcomes.values() if isinstance(outcome, Refusal)]
        codes |= {
            EXIT_CONFIGURATION if refusal.outcome is ChangeResult.REFUSED else EXIT_TEMPORARY for refusal in refusals
        }
        if dry_run and published.made:
            codes.add(EXIT_DIFFERENT)
    if not all(each.complete for each in looked):
        codes.add(EXIT_TEMPORARY)
    return max(codes)


def print_changes(published: PublishReport, server: tuple[str, int], *, dry_run: bool, quiet: bool) -> None:
    """The difference and a summary; refusals go to standard error."""
    for change in published.made:
        for line in change.lines():
            click.echo(line)
    if published.made or not quiet:
        click.echo(_summary(published, server, dry_run=dry_run))
    print_refusals(published)


def print_refusals(published: PublishReport) -> None:
    """A line on standard error for each reason, with the domains that it holds for."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for domain, outcome in published.outcomes.items():
        if isinstance(outcome, Refusal):
            reasons[outcome.words].append(domain)
    for words, domains in reasons.items():
        click.echo(f"onionmx: {_names(domains)}: {words}", err=True)


def print_servers(looked: Sequence[Verification], *, err: bool = False) -> None:
    """What each name server serves, and whether the records are signed.

    Args:
        looked: what was found out.
        err: print to standard error.
    """
    console = Console(highlight=False, markup=False, stderr=err)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    table = Table("ZONE", "SERVER", "ADDRESS", "SERIAL", "ANSWER", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    rows: dict[tuple[str, str, str], list[tuple[str, ServerView]]] = defaultdict(list)
    for each in looked:
        for view in each.servers:
            rows[each.zone, view.server, view.address].append((each.domain, view))
    for (zone, server, address), views in rows.items():
        serial = next((str(view.serial) for _, view in views if view.serial is not None), "")
        for answer in _answers(views):
            table.add_row(zone, server, address, serial, answer)
            zone = server = address = serial = ""  # noqa: PLW2901 -- the first line of a server says it
    if rows:
        console.print(table)
    for words, domains in _remarks(looked).items():
        console.print(f"{_names(domains)}: {words}", soft_wrap=True)


def report(
    published: PublishReport, looked: Sequence[Verification], server: tuple[str, int], *, dry_run: bool
) -> dict[str, Any]:
    """What happened, as JSON holds it."""
    changes = {change.wanted.domain: change for change in published.changes}
    return {
        "server": {"address": server[0], "port": server[1]},
        "dry_run": dry_run,
        "updates": published.updates,
        "domains": [
            _domain_as_json(domain, outcome, changes.get(domain)) for domain, outcome in published.outcomes.items()
        ],
        "verification": [
            {
                "domain": each.domain,
                "zone": each.zone,
                "complete": each.complete,
                "servers": each.servers,
                "signed": each.signed,
                "signed_words": each.signed_words,
                "problem": each.problem,
            }
            for each in looked
        ],
    }


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something is under way, if standard error is a terminal."""
    with Console(stderr=True).status(what) if Console(stderr=True).is_terminal else _nothing():
        yield


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[Verification], None]]:
    """A bar of the domains that all their name servers serve, if standard error is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda result: progress.advance(task) if result.complete else None


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _summary(published: PublishReport, server: tuple[str, int], *, dry_run: bool) -> str:
    counts: dict[ChangeResult, int] = defaultdict(int)
    for outcome in published.outcomes.values():
        counts[outcome.outcome if isinstance(outcome, Refusal) else outcome] += 1
    words = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ChangeResult if counts[outcome])
    where = "{} port {}".format(*server)
    if dry_run:
        return f"{words}; nothing sent to {where} (dry run)"
    return f"{words}; {published.updates or 'no'} update{'' if published.updates == 1 else 's'} sent to {where}"


def _answers(views: Sequence[tuple[str, ServerView]]) -> Iterator[str]:
    """What one server says, in as few words as tell it: domains with the same answer share a line."""
    serving = sum(view.state is ServerState.SERVES for _, view in views)
    if serving == len(views):
        yield "serves it" if serving == 1 else f"serves all {serving}"
        return
    if serving:
        yield f"serves {serving} of {len(views)}"
    others: dict[str, list[str]] = defaultdict(list)
    for domain, view in views:
        if view.state is not ServerState.SERVES:
            others[f"could not tell: {view.words}" if view.state is ServerState.UNKNOWN else view.words].append(domain)
    for words, domains in others.items():
        yield f"{_names(domains)}: {words}" if len(views) > 1 else words


def _remarks(looked: Iterable[Verification]) -> dict[str, list[str]]:
    """What holds for domains rather than for servers, with the domains."""
    remarks: dict[str, list[str]] = defaultdict(list)
    for each in looked:
        words = f"could not tell: {each.problem}" if each.problem else f"{each.signed}: {each.signed_words}"
        remarks[words].append(each.domain)
    return remarks


def _names(domains: Sequence[str]) -> str:
    shown = ", ".join(domains[:_NAMES_SHOWN])
    return shown if len(domains) <= _NAMES_SHOWN else f"{shown} and {len(domains) - _NAMES_SHOWN} more"


def _domain_as_json(domain: str, outcome: ChangeResult | Refusal, change: RecordChange | None) -> dict[str, Any]:
    refused = isinstance(outcome, Refusal)
    return {
        "domain": domain,
        "outcome": outcome.outcome if isinstance(outcome, Refusal) else outcome,
        "words": outcome.words if isinstance(outcome, Refusal) else "",
        "zone": change.current.zone.to_text(omit_final_dot=True) if change else None,
        "difference": [] if change is None or refused else list(change.lines()),
    }
