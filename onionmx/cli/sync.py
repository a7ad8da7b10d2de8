"""`onionmx sync`."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from onionmx.answer import Answer
from onionmx.cli.options import configuration_option, json_option, map_option, read_input, write_json
from onionmx.config import Configuration
from onionmx.errors import ConfigurationError, UsageError
from onionmx.mapfile.cdb import format_value
from onionmx.mapfile.domains import read_domains, read_own_domains
from onionmx.mapfile.pins import read_pins
from onionmx.onion import Endpoint
from onionmx.sync.plan import Decision, Outcome, Plan
from onionmx.sync.run import Inputs, synchronize

_REPORTED = (Outcome.ADDED, Outcome.CHANGED, Outcome.REMOVED, Outcome.UNDECIDED)


@click.command()
@click.argument("lists", metavar="[LIST]...", nargs=-1)
@configuration_option
@map_option
@click.option("--pins", metavar="FILE", help="Pins (default: sync.pins of the configuration).")
@click.option("-n", "--dry-run", is_flag=True, help="Ask and report, but write nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing when nothing changed and all was decided.")
@json_option
def command(
    lists: tuple[str, ...],
    configuration: Configuration,
    map_path: str | None,
    pins: str | None,
    *,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find out which domains have an onion MX, and write the map.

    LIST is a file with one domain a line, or - for standard input; by default the files in sync.domains. Pins
    override DNS. A domain whose lookup failed keeps its entry; a domain that is neither listed nor pinned any more
    loses it. Own domains get none.

    Exit codes: 0 the map is up to date; 75 every lookup failed, the map cannot be read or written, or another sync
    is running; 78 configuration, pins or a list are wrong. At 75 and 78 nothing was changed.
    """
    settings = configuration.map
    configuration = msgspec.structs.replace(
        configuration, map=msgspec.structs.replace(settings, path=map_path or settings.path)
    )
    inputs = _read_inputs(lists, pins, configuration)
    with _progress(len(inputs.questions)) as on_answer:
        plan = asyncio.run(synchronize(configuration, inputs, on_answer, dry_run=dry_run))
    if as_json:
        write_json(_as_json(plan, configuration.map.path, dry_run=dry_run))
    elif not quiet or any(plan.count(outcome) for outcome in _REPORTED):
        _print_report(plan, configuration.map.path, dry_run=dry_run)


def _read_inputs(lists: tuple[str, ...], pins: str | None, configuration: Configuration) -> Inputs:
    pins_path = Path(pins or configuration.sync.pins)
    pinned = read_pins(pins_path, may_be_missing=pins is None)
    names = lists or tuple(configuration.sync.domains)
    try:
        domains = read_domains(map(read_input, names))
    except UsageError as error:
        if lists:
            raise
        raise ConfigurationError(f"sync.domains: {error}") from error
    if not names and not pinned:
        raise ConfigurationError(
            f"nothing to do: name a list of domains, set sync.domains, or write pins to {pins_path}"
        )
    return Inputs(pinned, domains, read_own_domains(configuration.own))


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Answer], None]]:
    """A bar on standard error while it is a terminal; nothing in cron."""
    console = Console(stderr=True)
    columns = (TextColumn("asking DNS"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda _answer: progress.advance(task)


def _print_report(plan: Plan, path: str, *, dry_run: bool) -> None:
    for decision in plan.decisions:
        if decision.outcome in _REPORTED:
            click.echo(f"{decision.outcome:<9} {decision.domain}: {_described(decision)}")
        for note in decision.notes:
            click.echo(f"note      {decision.domain}: {note}")
    counts = [f"{plan.count(outcome)} {outcome}" for outcome in Outcome if outcome is not Outcome.WITHOUT]
    without = f"{plan.count(Outcome.WITHOUT)} without an onion MX"
    where = f"{path} not written (dry run)" if dry_run else path
    click.echo(f"{', '.join(counts)}, {without}; {where}")


def _described(decision: Decision) -> str:
    new = _shown(decision.new)
    match decision.outcome:
        case Outcome.ADDED:
            return f"{new} ({decision.source}, {decision.trust})"
        case Outcome.CHANGED:
            return f"{_shown(decision.old)} -> {new} ({decision.source}, {decision.trust})"
        case Outcome.UNDECIDED:
            return f"{decision.reason}; " + (f"keeps {new}" if new else "it has no entry to keep")
        case _:
            return decision.reason


def _shown(endpoints: tuple[Endpoint, ...]) -> str:
    return format_value(endpoints).decode()


def _as_json(plan: Plan, path: str, *, dry_run: bool) -> dict[str, Any]:
    return {
        "map": path,
        "dry_run": dry_run,
        "counts": {str(outcome): plan.count(outcome) for outcome in Outcome},
        "domains": plan.decisions,
    }
