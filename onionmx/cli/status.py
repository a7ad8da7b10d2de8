"""`onionmx status`."""

import asyncio

import click
import msgspec
from rich.console import Console

from onionmx.cli.console import make_console
from onionmx.cli.options import configuration_option, json_option, write_json
from onionmx.cli.repeat import repeat
from onionmx.cli.status_report import lines_of
from onionmx.config import Configuration
from onionmx.errors import EXIT_FOUND, EXIT_TEMPORARY, UsageError
from onionmx.status.look.host import Host, HostSeen

_INTERVAL = 10  # seconds


@click.command()
@configuration_option
@json_option
@click.option("--watch", is_flag=True, help="Look again and again, until it is interrupted.")
@click.option(
    "--interval",
    type=click.IntRange(1, 86400),
    metavar="SECONDS",
    help=f"Seconds from one look of --watch to the next (default: {_INTERVAL}).",
)
def command(configuration: Configuration, *, as_json: bool, watch: bool, interval: int | None) -> int:
    """Show how this host is doing: tor, its onion, the map, destinations that fail, mail that waits, deliveries.

    Run it as root: it asks tor at its control port, the relay at its control socket, and reads what sync knows as the
    user who owns that. Each has ten seconds to answer. What could not be found out is said to be not known, and is null
    in the JSON. With --watch --json each look is one line; --watch goes on until SIGINT or SIGTERM, and the exit code
    is that of the last look.

    Exit codes: 0 everything could be read; 75 something could not; 64 usage; 78 configuration. Whether all is well is
    for `onionmx doctor` to judge.
    """
    if interval is not None and not watch:
        raise UsageError("--interval is for --watch")
    host = Host(configuration)
    if watch:
        show = _print_json_line if as_json else _print_again
        return asyncio.run(repeat(host.look, interval or _INTERVAL, show, _exit_code))
    seen = asyncio.run(host.look())
    if as_json:
        write_json(seen.status)
    else:
        _print(make_console(), seen)
    return _exit_code(seen)


def _print_json_line(seen: HostSeen) -> None:
    click.echo(msgspec.json.encode(seen.status).decode())


def _print_again(seen: HostSeen) -> None:
    console = make_console()
    console.clear()  # nothing where it is not a terminal
    _print(console, seen)
    if not console.is_terminal:
        console.print()


def _print(console: Console, seen: HostSeen) -> None:
    for line in lines_of(seen.status):
        console.print(line, soft_wrap=True)


def _exit_code(seen: HostSeen) -> int:
    return EXIT_FOUND if seen.is_whole else EXIT_TEMPORARY
