"""What `onionmx selftest` prints. All of it was written by others, and is escaped."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from onionmx.cli.console import make_console
from onionmx.clock import Timestamp
from onionmx.echo.authentication import MethodResult
from onionmx.echo.path import Path, Way, path_of
from onionmx.echo.received import Hop
from onionmx.selftest.reply import Answered
from onionmx.selftest.run import SelftestResult
from onionmx.text import escaped

_COLOURS = {Way.ONION: "green", Way.CLEARNET: "red", Way.UNKNOWN: "yellow"}
_WAYS = {
    Way.ONION: "over an onion",
    Way.CLEARNET: "over the CLEARNET",
    Way.UNKNOWN: "could not tell which way",
}


def as_json(address: str, result: SelftestResult) -> dict[str, Any]:
    """What came of it, for programs."""
    found: dict[str, Any] = {
        "address": address,
        "exit_code": result.exit_code,
        "sent": _time(result.sent),
        "seconds": round(result.seconds, 3),
        "way": None,
        "reason": result.why,
    }
    if result.answer is None:
        return found
    report, back = result.answer.report, result.answer.back
    return found | {
        "way": report.path.way,
        "reason": report.path.reason,
        "tls": [hop.tls for hop in report.hops if hop.address and hop.tls],
        "dkim": _dkim(report.results),
        "authentication": report.results,
        "hops": [_hop_as_json(hop) for hop in report.hops],
        "echo": _time(report.time),
        "answer": {"way": _back(result.answer).way, "hops": [_hop_as_json(hop) for hop in back]},
    }


def print_result(address: str, result: SelftestResult) -> None:
    """What came of it, for people."""
    console = make_console()
    if result.answer is None:
        console.print(f"{escaped(address)}: no answer: {escaped(result.why)}", style="red", soft_wrap=True)
        click.echo("The MTA's log and queue (mailq) show where the message is.")
        return
    report = result.answer.report
    _print_path(console, "message", report.path)
    console.print(_hops(result.sent, report.hops, ("echo", report.time)))
    for method in report.results:
        console.print(escaped(_words(method)), soft_wrap=True)
    if not _dkim(report.results):
        console.print("dkim: the other host says nothing of it", soft_wrap=True)
    console.print()
    _print_path(console, "answer", _back(result.answer))
    console.print(_hops(report.time, result.answer.back, ("mailbox", result.sent + result.seconds)))
    console.print(f"\nround trip: {result.seconds:.1f} s")


def _print_path(console: Console, what: str, path: Path) -> None:
    console.print(f"{what}: {_WAYS[path.way]}: {escaped(path.reason)}", style=_COLOURS[path.way], soft_wrap=True)


def _hops(start: Timestamp, hops: Sequence[Hop], end: tuple[str, Timestamp]) -> Table:
    """Each hop with the seconds since the one before; headers have whole seconds, of the clock of each host."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", min_width=9)
    table.add_column(overflow="fold")
    before = float(int(start))
    for hop in hops:
        table.add_row("" if hop.time is None else f"{hop.time - before:+.0f} s", Text(escaped(_hop_words(hop))))
        before = before if hop.time is None else hop.time
    table.add_row(f"{end[1] - before:+.1f} s", end[0])
    return table


def _hop_words(hop: Hop) -> str:
    client = f"from {hop.name or '?'} [{hop.address}]" if hop.address else ""
    tls = hop.tls or ("no TLS" if hop.address else "")
    return ", ".join(filter(None, (" ".join(filter(None, (client, f"by {hop.by or '?'}"))), hop.protocol, tls)))


def _words(result: MethodResult) -> str:
    properties = " ".join(f"{key}={value}" for key, value in result.properties.items())
    return f"{result.method}: {result.result}{f' ({properties})' if properties else ''}"


def _dkim(results: Iterable[MethodResult]) -> list[str]:
    return [result.result for result in results if result.method == "dkim"]


def _back(answer: Answered) -> Path:
    return path_of(answer.back)


def _hop_as_json(hop: Hop) -> dict[str, Any]:
    return {
        "from": hop.name,
        "address": hop.address,
        "by": hop.by,
        "protocol": hop.protocol,
        "tls": hop.tls,
        "time": None if hop.time is None else _time(hop.time),
    }


def _time(time: Timestamp) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")
