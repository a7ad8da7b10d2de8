"""`onionmx lookup`."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import click
import msgspec
from rich.table import Table

from onionmx.answer import Answer, Ask, CouldNotTell, Found, NoRoute
from onionmx.cli.console import make_console
from onionmx.cli.options import configuration_option, json_option, map_option, with_map, write_json
from onionmx.cli.state_user import become_reader
from onionmx.config import Configuration, DnsSection
from onionmx.domain import Domain, normalize
from onionmx.errors import EXIT_FOUND, EXIT_NO_ROUTE, EXIT_TEMPORARY
from onionmx.mapfile.cdb import MapReader
from onionmx.parts import Parts
from onionmx.routing.shown import shown_answer
from onionmx.target import Route


@click.command()
@click.argument("domains", metavar="DOMAIN...", nargs=-1, required=True)
@configuration_option
@map_option
@click.option("--live", is_flag=True, help="Ask DNS now; leave local domains, pins and map aside.")
@json_option
def command(
    domains: tuple[str, ...], configuration: Configuration, map_path: str | None, *, live: bool, as_json: bool
) -> int:
    """Show where mail for DOMAIN goes over Tor.

    It is what the relay and `onionmx serve` say. Local domains go nowhere. Then pins come first, then the map, then,
    with lookup.live, the SRV record in DNS.

    If root runs it, it becomes the user who owns the folder of the map, unless lookup.live is on, or onionmx is
    installed in a folder of root alone.

    Exit codes: 0 every domain has an onion MX; 1 one has none; 75 could not tell for one.
    """
    names = list(dict.fromkeys(map(normalize, domains)))
    become_reader(with_map(configuration, map_path))
    answers = asyncio.run(_find(names, configuration, map_path, live=live))
    if as_json:
        write_json([shown_answer(answer) for answer in answers])
    else:
        _print_table(answers)
    return max(map(_exit_code, answers))


async def _find(names: list[str], configuration: Configuration, map_path: str | None, *, live: bool) -> list[Answer]:
    if live:
        async with Parts(configuration) as parts:
            return await ask_all(names, parts.resolver.ask, configuration.dns)
    if map_path is not None:
        MapReader(Path(map_path)).close()  # live lookups do without the usual one, but not without one that was named
    async with Parts(with_map(configuration, map_path), to_write=False) as parts:
        once = msgspec.structs.replace(configuration.dns, retries=0)  # as those whose MTAs ask again
        return await ask_all(names, parts.router.route, once)


async def ask_all(domains: Iterable[Domain], ask: Ask, settings: DnsSection) -> list[Answer]:
    """Ask for each domain; a question that could not be answered is asked again after a pause.

    Args:
        ask: finds the onion MXes of one domain.
        settings: concurrency and retries.

    Returns:
        The final answers, in the order of the domains.
    """
    turn = asyncio.Semaphore(settings.concurrency)

    async def find(domain: str) -> Answer:
        async with turn:
            answer = await ask(domain)
            for attempt in range(settings.retries):
                if not isinstance(answer, CouldNotTell):
                    break
                await asyncio.sleep(settings.retry_delay * 2**attempt)
                answer = await ask(domain)
        return answer

    async with asyncio.TaskGroup() as tasks:
        finding = [tasks.create_task(find(domain)) for domain in domains]
    return [task.result() for task in finding]


def _exit_code(answer: Answer) -> int:
    match answer:
        case Found():
            return EXIT_FOUND
        case NoRoute():
            return EXIT_NO_ROUTE
        case CouldNotTell():
            return EXIT_TEMPORARY


def _print_table(answers: list[Answer]) -> None:
    table = Table("DOMAIN", "TARGET", "PRIORITY", "WEIGHT", "SOURCE", "TRUST", "TTL", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    notes: list[str] = []
    for answer in answers:
        match answer:
            case Found(route):
                _add_route(table, route)
                notes += [f"{route.domain}: {note}" for note in answer.notes]
            case NoRoute(domain, reason):
                table.add_row(domain, f"none: {reason}", "", "", "", "", _seconds(answer.ttl))
                notes += [f"{domain}: {note}" for note in answer.notes]
            case CouldNotTell(domain, reason):
                table.add_row(domain, f"could not tell: {reason}")
    console = make_console()
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True)


def _add_route(table: Table, route: Route) -> None:
    first = [route.domain, route.source, route.trust or "not recorded", _seconds(route.ttl)]
    for target in route.targets:
        domain, source, trust, ttl = first
        where = f"{target.onion}:{target.port}"
        table.add_row(domain, where, str(target.priority), str(target.weight), source, trust, ttl)
        first = ["", "", "", ""]


def _seconds(ttl: int | None) -> str:
    return "" if ttl is None else f"{ttl} s"
