"""`onionmx status`."""

import asyncio

import click
import msgspec

from onionmx.cli.console import make_console
from onionmx.cli.options import configuration_option, json_option, write_json
from onionmx.cli.status_report import lines_of
from onionmx.config import Configuration
from onionmx.errors import EXIT_FOUND, EXIT_TEMPORARY, UsageError
from onionmx.status.look.host import Host, HostSeen


@click.command()
@configuration_option
@json_option
@click.option("--watch", is_flag=True, help="Look again and again, until it is interrupted.")
@click.option(
    "--interval",
    type=click.IntRange(1, 86400),
    metavar="SECONDS",
    help="Seconds between two looks of --watch (default: 10).",
)
def command(configuration: Configuration, *, as_json: bool, watch: bool, interval: int | None) -> int:
    """Show how this host is doing: tor, its onion, the map, destinations that fail, mail that waits, deliveries.

    Run it as root: it asks tor at its control port, the relay at its control socket, and reads what sync knows as the
    user who owns that. Each has ten seconds to answer. What could not be found out is said to be not known, and is null
    in the JSON. With --watch --json each look is one line.

    Exit codes: 0 everything could be read; 75 something could not; 64 usage; 78 configuration. Whether all is well is
    for `onionmx doctor` to judge.
    """
    if interval is not None and not watch:
        raise UsageError("--interval is for --watch")
    if watch:
        asyncio.run(_watch(configuration, interval or 10, as_json=as_json))
    seen = asyncio.run(Host(configuration).look())
    if as_json:
        write_json(seen.status)
    else:
        _print(seen)
    return EXIT_FOUND if seen.is_whole else EXIT_TEMPORARY


async def _watch(configuration: Configuration, interval: float, *, as_json: bool) -> None:
    host = Host(configuration)
    while True:
        seen = await host.look()
        if as_json:
            click.echo(msgspec.json.encode(seen.status).decode())
        else:
            _print(seen, is_again=True)
        await asyncio.sleep(interval)


def _print(seen: HostSeen, *, is_again: bool = False) -> None:
    console = make_console()
    if is_again:
        console.clear()  # nothing where it is not a terminal
    for line in lines_of(seen.status):
        console.print(line, soft_wrap=True)
    if is_again and not console.is_terminal:
        console.print()
