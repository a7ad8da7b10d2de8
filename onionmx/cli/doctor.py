"""`onionmx doctor`."""

import asyncio
from collections import Counter
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from onionmx.cli.options import configuration_option, json_option, write_json
from onionmx.config import Configuration
from onionmx.doctor.checks import CHECKS, ESSENTIAL, TOPICS
from onionmx.doctor.finding import Finding, Severity, exit_code
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import run_checks
from onionmx.smtp.printable import printable

_COLOURS = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.PROBLEM: "red", Severity.NOT_CHECKED: "dim"}
_TO_FIX = frozenset({Severity.WARNING, Severity.PROBLEM})
_WIDTH = max(map(len, Severity)) + 2
_INDENT = " " * _WIDTH


@click.command(
    epilog="Checks: "
    + ", ".join(topic.name for topic in TOPICS)
    + ". Essential are: "
    + ", ".join(sorted(ESSENTIAL))
    + "."
)
@configuration_option
@click.option(
    "--check",
    "wanted",
    metavar="NAME",
    multiple=True,
    type=click.Choice([t.name for t in TOPICS]),
    help="Only this check; may be given several times.",
)
@click.option("--quiet", is_flag=True, help="Print warnings and problems only.")
@json_option
def command(configuration: Configuration, wanted: tuple[str, ...], *, quiet: bool, as_json: bool) -> int:
    """Look at this machine: is it a sound onion MX, and not an open relay?

    Run it where tor runs, as root or as tor's user. Through the onion it asks the MTA what it would do with mail for
    others; no mail is sent.

    Exit codes: 0 no problem (there may be warnings); 1 a problem; 75 no problem, but an essential check could not be
    made; 64 usage; 78 configuration.
    """
    findings = asyncio.run(_look(configuration, wanted))
    shown = [finding for finding in findings if not quiet or finding.severity in _TO_FIX]
    if as_json:
        write_json(_as_json(shown, findings))
    else:
        _print(shown, findings, quiet=quiet)
    return exit_code(findings, ESSENTIAL)


async def _look(configuration: Configuration, wanted: tuple[str, ...]) -> list[Finding]:
    machine = Machine(configuration)
    machine.local_domains()  # a list that cannot be used is a fault of the configuration, not of the machine
    try:
        return await run_checks(CHECKS, machine, configuration.doctor.timeout, wanted)
    finally:
        await machine.close()


def _print(shown: list[Finding], findings: list[Finding], *, quiet: bool) -> None:
    console = Console(highlight=False, markup=False)
    waiting: dict[str, list[str]] = {}
    for finding in findings:
        if finding.cause and finding.check not in waiting.setdefault(finding.cause, []):
            waiting[finding.cause].append(finding.check)
    for finding in (finding for finding in shown if not finding.cause):
        head = Text(f"{finding.severity:<{_WIDTH}}", style=_COLOURS[finding.severity])
        console.print(head.append(f"{finding.check}: {printable(finding.seen)}", style="default"), soft_wrap=True)
        if finding.severity in _TO_FIX:
            console.print(f"{_INDENT}why: {finding.why}", soft_wrap=True)
        # What fixes it is printed for unchecked things too: it makes the check possible.
        for line in finding.fix.splitlines():
            console.print(f"{_INDENT}fix: {printable(line)}", soft_wrap=True)
        if names := waiting.pop(finding.check, None):
            console.print(f"{_INDENT}not checked until then: {', '.join(names)}", soft_wrap=True)
    if not quiet:
        counts = Counter(finding.severity for finding in findings)
        console.print(", ".join(f"{counts[severity]} {severity}" for severity in Severity))


def _as_json(shown: list[Finding], findings: list[Finding]) -> dict[str, Any]:
    counts = Counter(finding.severity for finding in findings)
    entries = [{key: value for key, value in asdict(finding).items() if key != "blocks"} for finding in shown]
    return {"counts": {severity.value: counts[severity] for severity in Severity}, "findings": entries}
