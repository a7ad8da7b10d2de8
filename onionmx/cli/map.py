"""`onionmx map`."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import click

from onionmx.authenticate.proof.published import keeping_demands
from onionmx.cli.options import configuration_option, json_option, map_option, read_input, warn, with_map, write_json
from onionmx.cli.state_user import become_owner
from onionmx.config import Configuration, Export
from onionmx.config.export import DOMAIN_ALONE, Labels
from onionmx.domain import normalize
from onionmx.errors import EXIT_FOUND, EXIT_NO_ROUTE, InputError, MapError, TemporaryError, UsageError
from onionmx.mapfile.cdb import DEFERS, DEFERS_WHY, MapReader, format_value
from onionmx.mapfile.check import check, count_deferring
from onionmx.mapfile.entries import Difference, Entries, Parsed, differences
from onionmx.mapfile.export import format_export, stale_exports, write_exports
from onionmx.mapfile.lines import described
from onionmx.mapfile.map_yml import format_map_yml, parse_map_yml
from onionmx.mapfile.pins import format_seed, parse_seed
from onionmx.mapfile.transport import format_transport, parse_transport
from onionmx.mapfile.write import publish, writer_lock
from onionmx.onion import Endpoint
from onionmx.sync.after import mark_due, run_after
from onionmx.sync.lists.signature import check_serials, check_signature
from onionmx.sync.provenance import after_import, exported, provenance_path, read_provenance, write_provenance
from onionmx.sync.setup import opened_known_store, own_pins

PARSERS: dict[str, Callable[[str, bytes], Parsed]] = {
    "seed": parse_seed,
    "map.yml": parse_map_yml,
    "transport": parse_transport,
}
FORMATTERS: dict[str, Callable[[Entries], str]] = {
    "seed": format_seed,
    "map.yml": format_map_yml,
    "transport": format_transport,
}
DOMAINS, JSON = "domains", "json"
EXIT_DIFFERENT = 1  # as diff(1), and for mistakes that check found

format_option = click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(list(PARSERS)),
    default="seed",
    show_default=True,
    help="seed: `domain onion[:port]...` lines, as for cdb(1); map.yml: the community's YAML; transport: Postfix.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look into the map from domains to onions, check it, convert it."""


@command.command()
@click.argument("domain")
@configuration_option
@map_option
def get(domain: str, configuration: Configuration, map_path: str | None) -> int:
    """Print the onions of DOMAIN, in the order in which they are tried.

    Exit codes: 0 found; 1 no entry; 75 its entry is could-not-tell.onion, or the map is missing, unreadable or damaged.
    """
    name = normalize(domain)
    with _open(configuration, map_path) as reader:
        endpoints = reader.get(name)
    if endpoints == DEFERS:
        raise TemporaryError(f"{name}: {DEFERS_WHY}")
    if endpoints is None:
        return EXIT_NO_ROUTE
    click.echo(format_value(endpoints))
    return EXIT_FOUND


@command.command("list")
@configuration_option
@map_option
@json_option
def list_entries(configuration: Configuration, map_path: str | None, *, as_json: bool) -> None:
    """Print all entries, one domain a line."""
    with _open(configuration, map_path) as reader:
        if as_json:
            write_json([_entry_as_json(domain, endpoints) for domain, endpoints in reader.entries()])
            return
        for domain, endpoints in reader.entries():
            click.echo(f"{domain} {format_value(endpoints).decode()}")


@command.command("check")
@configuration_option
@map_option
def check_map(configuration: Configuration, map_path: str | None) -> int:
    """Look for mistakes: v2 and mistyped onions, impossible domains and ports, duplicates, damage.

    Exit codes: 0 none; 1 some, each in a line; 75 the map is missing, unreadable or damaged.
    """
    with _open(configuration, map_path) as reader:
        reader.check_whole()
        if not reader.has_checksums:
            click.echo(
                f"{reader.path}: no checksums, so damage to it can go unnoticed; `onionmx sync` writes them", err=True
            )
        mistakes = 0
        for mistake in check(reader):
            mistakes += 1
            click.echo(mistake)
        deferring = count_deferring(reader)
        waiting = f", {deferring} of them could-not-tell.onion" if deferring else ""
        click.echo(f"{reader.path}: {len(reader)} entries{waiting}, {mistakes} mistakes")
    return EXIT_DIFFERENT if mistakes else EXIT_FOUND


@command.command()
@click.argument("old")
@click.argument("new")
@json_option
def diff(old: str, new: str, *, as_json: bool) -> int:
    """Compare two maps: + only in NEW, - only in OLD, ~ in both but different.

    Exit codes: 0 the same entries; 1 different; 75 a map is missing, unreadable or damaged.
    """
    with MapReader(old) as old_reader, MapReader(new) as new_reader:
        found = list(differences(dict(old_reader.entries()), dict(new_reader.entries())))
    if as_json:
        write_json(found)
    else:
        for difference in found:
            click.echo(_described(difference))
    return EXIT_DIFFERENT if found else EXIT_FOUND


@command.command("import")
@click.argument("file")
@format_option
@configuration_option
@map_option
def import_file(file: str, format_name: str, configuration: Configuration, map_path: str | None) -> None:
    """Write the map anew from FILE, or from standard input for -.

    The entries keep the order of the file, so that the map is byte for byte the one that cdb(1) makes of a seed, with
    checksums behind it. What domains demand of their onion MXes (onionmx.cdb.demands) is kept.
    map.exports are written too, and sync.after is run, as by sync.
    A line that cannot be used stops the import; dead v2 onions in a map.yml, and lines of a transport table that lead
    elsewhere, are only reported. A file of sync.signers must be signed.

    Exit codes: 0 the map is that of the file; 64 the file cannot be used; 75 the map cannot be written, or another
    program writes it; 78 the configuration is wrong, or the signature. Else than at 0 the map was not changed.
    """
    name, content = read_input(file)
    signed = check_signature(configuration.sync.signers, name, content)
    parsed = PARSERS[format_name](name, content)
    for ignored in parsed.ignored:
        click.echo(f"onionmx: {ignored}; ignored", err=True)
    if parsed.problems:
        raise InputError(described(parsed.problems))
    configuration = with_map(configuration, map_path)
    path = Path(configuration.map.path)
    become_owner(path.parent)
    with writer_lock(path):
        known = read_provenance(path)
        check_serials([signed] if signed else [], known.serials, provenance_path(path))
        write_provenance(path, after_import(known, signed, parsed.entries), known)
        stale = stale_exports(parsed.entries, configuration.map.exports)
        if configuration.sync.after and (stale or not _has(path, parsed.entries)):
            mark_due(path)
        write_exports(stale)
        with keeping_demands(path, parsed.entries):
            publish(path, parsed.entries)
    click.echo(f"{path}: {len(parsed.entries)} entries")
    if failure := run_after(path, configuration.sync.after):
        warn(failure)


@command.command()
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice([*FORMATTERS, DOMAINS, JSON]),
    help="As of import (default: seed); domains: one a line; json: with source, trust, first_seen and signer of each "
    "entry (docs/provenance.md).",
)
@click.option(
    "--template",
    metavar="TEXT",
    help="A line for each domain instead, such as '{domain}:[127.0.0.1],10025'. {onion} and {port} are its first "
    "target, {targets} all; {{ and }} are braces.",
)
@click.option(
    "--labels",
    type=click.Choice(get_args(Labels)),
    help="How domains and --template write internationalized domains: A-labels (default), Unicode, or a line for each.",
)
@click.option(
    "--under-onion",
    metavar="KEY",
    help="One more line for domains and --template: how the MTA names all that is under .onion, such as .onion.",
)
@configuration_option
@map_option
def export(  # noqa: PLR0917 -- click gives them by name
    format_name: str | None,
    template: str | None,
    labels: Labels | None,
    under_onion: str | None,
    configuration: Configuration,
    map_path: str | None,
) -> None:
    """Print the map in another format.

    A map.yml cannot hold an order of targets for each domain: it keeps the order in which onions first appear. json
    reads the state of sync too. domains and --template have each domain of the map, also those whose mail has to wait,
    in alphabetical order; map.exports has sync write such files. Domains with letters that an MTA may take for others
    (ß) have A-labels in any case.

    Exit codes: 0 printed; 64 --template or --under-onion cannot be used; 75 the map, or for json the state, is missing,
    unreadable or damaged; 78 configuration or pins are wrong.
    """
    if template is not None and format_name is not None:
        raise UsageError("expected one of --format and --template")
    is_list = format_name == DOMAINS or template is not None
    if is_list:
        form = _export_of(DOMAIN_ALONE if template is None else template, labels, under_onion)
        with _open(configuration, map_path) as reader:
            click.echo(format_export(dict(reader.entries()), form), nl=False)
        return
    if labels or under_onion is not None:
        raise UsageError("--labels and --under-onion are for --format domains and --template")
    if format_name != JSON:
        with _open(configuration, map_path) as reader:
            click.echo(FORMATTERS[format_name or "seed"](dict(reader.entries())), nl=False)
        return
    configuration = with_map(configuration, map_path)
    path = Path(configuration.map.path)
    become_owner(path.parent, configuration.sync.secrets().values())
    pinned = own_pins(configuration, None)
    with opened_known_store(configuration) as store, MapReader(path) as reader:
        write_json(exported(reader, store, store.pins() if pinned is None else pinned, read_provenance(path)))


def _has(path: Path, entries: Entries) -> bool:
    try:
        with MapReader(path) as reader:
            return dict(reader.entries()) == dict(entries)
    except MapError:
        return False


def _export_of(template: str, labels: Labels | None, under_onion: str | None) -> Export:
    if under_onion == "":  # of a variable without a value: the line would be missing
        raise UsageError("--under-onion is empty: expected such as .onion")
    try:
        return Export(path="", template=template, labels=labels or "ascii", under_onion=under_onion or "")
    except ValueError as error:
        raise UsageError(str(error)) from error


def _open(configuration: Configuration, map_path: str | None) -> MapReader:
    path = map_path or configuration.map.path
    become_owner(Path(path).parent)
    return MapReader(path)


def _entry_as_json(domain: str, endpoints: tuple[Endpoint, ...]) -> dict[str, object]:
    return {"domain": domain, "targets": [{"onion": onion, "port": port} for onion, port in endpoints]}


def _described(difference: Difference) -> str:
    old = format_value(difference.old or ()).decode()
    new = format_value(difference.new or ()).decode()
    if difference.old is None:
        return f"+ {difference.domain} {new}"
    if difference.new is None:
        return f"- {difference.domain} {old}"
    return f"~ {difference.domain} {old} -> {new}"
