"""`onionmx probe`."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.cli.console import make_console
from onionmx.cli.options import Seconds, configuration_option, json_option, map_option, with_map, write_json
from onionmx.cli.repeat import repeat
from onionmx.cli.state_user import become_reader
from onionmx.config import Configuration
from onionmx.domain import shown
from onionmx.errors import EXIT_FOUND
from onionmx.mapfile.domains import read_local_domains
from onionmx.parts import Parts
from onionmx.probe.report import ProbeStep, Report, StepResult, TargetReport
from onionmx.probe.run import parse_subject, probe
from onionmx.probe.walk import DEFAULT_TIMEOUT, ProbeOptions
from onionmx.tor.socks import over_tor

_DEFAULT_INTERVAL = "60"  # seconds
_WIDEST_STEP = 11
_COLOURS = {
    StepResult.OK: "green",
    StepResult.WARNING: "yellow",
    StepResult.FAILED: "red",
    StepResult.COULD_NOT_TELL: "red",
    StepResult.NOT_REACHED: "dim",
}

Probe = Callable[[], Awaitable[Report]]


def _read_interval(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        interval = float(value)
    except ValueError:
        interval = 0.0
    if not 1 <= interval <= 86400:  # noqa: PLR2004 -- one second, one day
        raise click.BadParameter(
            f"{shown(value)} is not a number of seconds from 1 to 86400; the domain comes before --watch"
        )
    return interval


@click.command()
@click.argument("subject", metavar="DOMAIN|ONION[:PORT]")
@configuration_option
@map_option
@click.option("--live", is_flag=True, help="Ask DNS now for the route; leave pins and map aside.")
@click.option("-a", "--address", default="", metavar="USER@DOMAIN", help="Ask with MAIL and RCPT whether it is taken.")
@click.option("--sender", default="", metavar="ADDRESS", help="Sender for --address (default: the empty one, <>).")
@click.option("--tls", "require_tls", is_flag=True, help="Take a target that does not offer STARTTLS for a fault.")
@click.option(
    "--timeout",
    type=Seconds(min=0.1, max=600),
    default=DEFAULT_TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="For each reply of a server; for the connection tor.connect_timeout holds.",
)
@click.option(
    "--watch",
    "interval",
    is_flag=False,
    flag_value=_DEFAULT_INTERVAL,
    callback=_read_interval,
    metavar="[SECONDS]",
    help=f"Probe again and again at this interval ({_DEFAULT_INTERVAL} if none is given), one line each time.",
)
@json_option
def command(
    subject: str,
    configuration: Configuration,
    map_path: str | None,
    *,
    address: str,
    sender: str,
    timeout: float,
    interval: float | None,
    live: bool,
    require_tls: bool,
    as_json: bool,
) -> int:
    """Connect to the onion MXes of DOMAIN, or to ONION, and show each step with its time. No message is sent.

    The steps: the route as relay and lookups find it, or as DNS has it for a domain of this host, with its trust;
    then, for all targets at once, the connection over Tor, greeting, EHLO with what it offers, STARTTLS with the
    certificate where it is offered, MAIL and RCPT for --address, RSET, QUIT. A certificate that is expired or that
    nobody vouches for is shown, but is no fault: Tor has proven the name of the onion.

    With --watch it goes on until SIGINT or SIGTERM, and the exit code is that of the last round.

    If root runs it, it becomes the user who owns the folder of the map, unless lookup.live is on, or onionmx is
    installed in a folder of root alone.

    Exit codes: 0 every target is good; 1 there is no route, or a target plainly does wrong: it refuses for good (5xx),
    does not speak SMTP, or lacks STARTTLS under --tls; 75 the route is unknown, or a target cannot be reached, does
    not answer or refuses for now (4xx). With several targets 75 comes before 1.
    """
    what = parse_subject(subject)
    become_reader(with_map(configuration, map_path))
    questions = ProbeOptions(configuration.relay.ehlo_name, address, sender, require_tls, timeout)
    # The router has no route for local domains: what others find is in DNS.
    local = read_local_domains(configuration.local)

    async def run() -> int | Report:
        async with Parts(with_map(configuration, map_path), to_write=False) as parts:

            def ask(domain: str) -> Awaitable[Answer]:
                return parts.resolver.ask(domain) if live or domain in local else parts.router.route(domain)

            once = partial(probe, what, questions, ask, over_tor(parts.socks))
            if interval is not None:
                show = _print_json_line if as_json else _print_line
                return await repeat(once, interval, show, lambda report: report.exit_code)
            with _progress(subject):
                return await once()

    report = asyncio.run(run())
    if isinstance(report, int):
        return report
    if as_json:
        write_json(_as_json(report))
    else:
        _print_tables(report)
    return report.exit_code


def _progress(subject: str) -> AbstractContextManager[object]:
    """A sign of life on standard error while it is a terminal; nothing in cron."""
    console = Console(stderr=True, markup=False)
    return console.status(f"probing {subject}") if console.is_terminal else nullcontext()


# Output.


def _print_tables(report: Report) -> None:
    console = make_console()
    console.print(report.subject, style="bold", soft_wrap=True)
    outcome, words = _describe_route(report.answer)
    table = _table()
    table.add_row("route", f"{report.route_seconds:.3f}", Text(words, _COLOURS[outcome]))
    for note in () if isinstance(report.answer, CouldNotTell) else report.answer.notes:
        table.add_row("", "", note)
    console.print(table)
    for target in report.targets:
        console.print(f"\n{_target_words(target)}", style="bold", soft_wrap=True)
        console.print(_steps_table(target))


def _table() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(min_width=_WIDEST_STEP)
    table.add_column(justify="right", min_width=7)
    table.add_column(overflow="fold")
    return table


def _describe_route(answer: Answer) -> tuple[StepResult, str]:
    match answer:
        case Found(route):
            count = f"{len(route.targets)} target{'s' if len(route.targets) > 1 else ''}"
            ttl = "" if route.ttl is None else f", to be kept for {route.ttl} s"
            return StepResult.OK, f"{count} from {route.source}, {route.trust or 'trust not recorded'}{ttl}"
        case NoRoute(_, reason):
            return StepResult.FAILED, f"none: {reason}"
        case CouldNotTell(_, reason):
            return StepResult.COULD_NOT_TELL, f"could not tell: {reason}"


def _target_words(report: TargetReport) -> str:
    target = report.target
    return f"{target.onion}:{target.port} priority {target.priority} weight {target.weight}"


def _steps_table(report: TargetReport) -> Table:
    table = _table()
    for step in report.steps:
        seconds = "" if step.seconds is None else f"{step.seconds:.3f}"
        table.add_row(step.name, seconds, Text(_step_words(step), _COLOURS[step.finding.outcome]))
        if step.finding.advice:
            table.add_row("", "", f"-> {step.finding.advice}")
    return table


def _step_words(step: ProbeStep) -> str:
    finding = step.finding
    if finding.outcome is StepResult.OK:
        return finding.words
    return ": ".join(filter(None, (finding.outcome, finding.words)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _print_line(report: Report) -> None:
    result = "ok" if report.exit_code == EXIT_FOUND else "failed"
    causes = "".join(f" {cause};" for cause in report.causes).rstrip(";")
    click.echo(f"{_now()} {result} {report.seconds:.3f} s {report.subject}{':' if causes else ''}{causes}")


def _print_json_line(report: Report) -> None:
    click.echo(msgspec.json.encode({"time": _now()} | _as_json(report)).decode())


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "subject": report.subject,
        "result": "ok" if report.exit_code == EXIT_FOUND else "failed",
        "exit_code": report.exit_code,
        "seconds": round(report.seconds, 3),
        "causes": report.causes,
        "route": _route_as_json(report),
        "targets": [
            {
                "onion": one.target.onion,
                "port": one.target.port,
                "priority": one.target.priority,
                "weight": one.target.weight,
                "exit_code": one.exit_code,
                "steps": [
                    {
                        "name": step.name,
                        "seconds": None if step.seconds is None else round(step.seconds, 3),
                        **msgspec.to_builtins(step.finding),
                    }
                    for step in one.steps
                ],
            }
            for one in report.targets
        ],
    }


def _route_as_json(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = {"seconds": round(report.route_seconds, 3)}
    match report.answer:
        case Found(route, notes):
            source = {"source": route.source, "trust": route.trust, "ttl": route.ttl}
            return found | {"answer": "found", **source, "notes": notes}
        case NoRoute(_, reason, ttl, notes):
            return found | {"answer": "no route", "reason": reason, "ttl": ttl, "notes": notes}
        case CouldNotTell(_, reason):
            return found | {"answer": "could not tell", "reason": reason}
