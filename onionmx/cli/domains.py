"""`onionmx domains`."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from onionmx.cli.options import configuration_option, json_option, map_option, read_input, warn, with_map, write_json
from onionmx.cli.sync_report import outgoing_as_json
from onionmx.config import Configuration
from onionmx.errors import ConfigurationError, InputError
from onionmx.mapfile.cdb import MapReader
from onionmx.mapfile.domains import read_local_domains
from onionmx.mapfile.lines import described
from onionmx.mapfile.map_yml import parse_map_yml
from onionmx.sync.lists.files import read_lists
from onionmx.sync.lists.log_file import find_logs, uncompressed
from onionmx.sync.lists.recipients import Recipients, opened_recipients
from onionmx.sync.lists.signature import check_serials, check_signature
from onionmx.sync.provenance import provenance_path, read_provenance

if TYPE_CHECKING:
    from io import BufferedReader


@click.command()
@click.argument("logs", metavar="[LOG]...", nargs=-1)
@click.option("--list", "lists", multiple=True, metavar="FILE", help="Add a list of domains, one a line.")
@click.option("--from-map", "maps", multiple=True, metavar="FILE", help="Add the domains of a map.")
@click.option("--from-map-yml", "map_ymls", multiple=True, metavar="FILE", help="Add those of the community's map.yml.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Only the N domains with the most mail.")
@click.option("--counts", is_flag=True, help="Print behind each domain how many recipients it had, as a comment.")
@configuration_option
@map_option
@json_option
def command(  # noqa: PLR0917 -- click gives them by name
    logs: tuple[str, ...],
    lists: tuple[str, ...],
    maps: tuple[str, ...],
    map_ymls: tuple[str, ...],
    top: int | None,
    configuration: Configuration,
    map_path: str | None,
    *,
    counts: bool,
    as_json: bool,
) -> None:
    """Print the domains that this host writes to, those with the most mail first, as a list for `onionmx sync`.

    LOG is a mail log of Exim or Postfix, plain or by gzip, or - for standard input; by default those of sync.logs.
    Only domains of remote recipients are taken from it, and local domains are left out. How much of that mail could go
    over onion services, by the map as it is now, is reported on standard error.

    Exit codes: 0 printed; 64 a file cannot be used; 75 the map is unreadable or damaged; 78 a log cannot be read, or
    configuration or a list are wrong, or a file that must be signed is not.
    """
    configuration = with_map(configuration, map_path)
    own = read_local_domains(configuration.local)
    with opened_recipients(None, own, time.time()) as recipients:
        for words in _count_logs(recipients, logs, configuration, is_alone=not (lists or maps or map_ymls)):
            warn(words)
        recipients.add(read_lists([_read(name, configuration) for name in lists]))
        for name in maps:
            with MapReader(name) as reader:
                recipients.add(domain for domain, _ in reader.entries())
        for name in map_ymls:
            recipients.add(_domains_of(*_read(name, configuration)))
        outgoing = recipients.outgoing(Path(configuration.map.path))
        found = recipients.counts(top or 0)
        if as_json:
            write_json({"domains": list(found), "outgoing": outgoing_as_json(outgoing)})
            return
        for count in found:
            click.echo(f"{count.domain}  # {count.recipients}" if counts else count.domain)
    if outgoing.recipients:
        warn(str(outgoing))


def _count_logs(
    recipients: Recipients, logs: tuple[str, ...], configuration: Configuration, *, is_alone: bool
) -> Iterator[str]:
    names = [Path(name) for name in logs if name != "-"]
    if not logs and is_alone:
        if not configuration.sync.logs:
            raise ConfigurationError("nothing to do: name a mail log, a list or a map, or set sync.logs")
        names = find_logs(configuration.sync.logs)
    for name in names:
        if words := recipients.read_log(name):
            yield words
    if "-" in logs:
        # Typed as the stream of a text, it is one that can be looked into.
        with uncompressed(cast("BufferedReader", sys.stdin.buffer), "standard input") as log:
            if words := recipients.read_stream(log, "standard input"):
                yield words


def _read(name: str, configuration: Configuration) -> tuple[str, bytes]:
    """A list, or a map.yml, which must be signed where `sync.signers` has it."""
    shown, content = read_input(name)
    if signed := check_signature(configuration.sync.signers, shown, content):
        path = Path(configuration.map.path)
        check_serials([signed], read_provenance(path).serials, provenance_path(path))
    return shown, content


def _domains_of(name: str, content: bytes) -> Iterator[str]:
    parsed = parse_map_yml(name, content)
    if parsed.problems:
        raise InputError(described(parsed.problems))
    yield from parsed.entries
