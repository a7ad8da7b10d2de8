"""`onionmx publish`."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import click
import dns.name
import dns.tsig

from onionmx.cli.options import Seconds, configuration_option, json_option, read_input, write_json
from onionmx.cli.publish_report import (
    counting,
    exit_code,
    print_changes,
    print_refusals,
    print_servers,
    report,
    working,
)
from onionmx.config import Configuration, parse_nameserver
from onionmx.domain import normalize
from onionmx.errors import EXIT_FOUND, ConfigurationError, OnionError, OnionmxError, UsageError
from onionmx.mapfile.domains import read_domains, read_local_domains
from onionmx.onion import DEFAULT_PORT
from onionmx.publish.change import to_script
from onionmx.publish.records import (
    DEFAULT_PRIORITY,
    DEFAULT_WEIGHT,
    OnionMxRecords,
    check_domain_name,
    parse_targets,
    to_json,
    to_nsupdate,
    to_tinydns,
    to_zone_text,
)
from onionmx.publish.run import PublishReport, publish, verify
from onionmx.publish.signatures import Signed
from onionmx.publish.tsig import read_key
from onionmx.publish.verify import Verification
from onionmx.target import Target
from onionmx.tor.control import open_control
from onionmx.tor.service.running import mail_services, services

FORMATS = ("zone", "nsupdate", "tinydns", "json")
_MAX_TTL = 2**31 - 1  # seconds (RFC 2181 section 8)
_DEFAULT_WAIT = 300.0  # seconds


@click.command()
@click.argument("domains", metavar="[DOMAIN...]", nargs=-1)
@configuration_option
@click.option(
    "--domains", "lists", metavar="FILE", multiple=True, help="File with one domain a line, or - for standard input."
)
@click.option(
    "--onion",
    "onions",
    metavar="ONION[:PORT[:PRIORITY[:WEIGHT]]]",
    multiple=True,
    help="Where the mail is to go; without numbers port 25, priority 0 (lower is tried first), weight 5 (share among "
    "equal priorities). Default: the onion service of this tor that carries port 25.",
)
@click.option(
    "--onion-file",
    metavar="FILE",
    help="File with what --onion takes, one a line, such as the hostname in a HiddenServiceDir; tor is not asked.",
)
@click.option(
    "--ttl", type=click.IntRange(0, _MAX_TTL), help="Seconds that others may keep the record (default: publish.ttl)."
)
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    help="Print the records and send nothing: zone: lines for BIND and others; nsupdate: a script; tinydns: generic "
    "lines for tinydns-data; json. With --dry-run, nsupdate prints what would be sent.",
)
@click.option(
    "--update",
    "server",
    metavar="SERVER",
    help="Primary name server that takes updates (RFC 2136): IP, IP:PORT or [IPv6]:PORT (default: publish.server).",
)
@click.option(
    "--tsig-file",
    metavar="FILE",
    help="TSIG key, as tsig-keygen or keymgr -t write it, readable by its owner alone, or credential:NAME (default: "
    "publish.tsig_file).",
)
@click.option("--withdraw", is_flag=True, help="Remove the records.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would change on the name server; send nothing.")
@click.option(
    "--wait",
    metavar="[SECONDS]",
    type=Seconds(min=0),
    is_flag=False,
    flag_value=_DEFAULT_WAIT,
    help="Wait until every name server serves it, at most 300 seconds or as many as are named, as --wait=60.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing when nothing changed and every server serves it.")
@json_option
def command(
    domains: tuple[str, ...],
    configuration: Configuration,
    *,
    lists: tuple[str, ...],
    onions: tuple[str, ...],
    onion_file: str | None,
    ttl: int | None,
    format_name: str | None,
    server: str | None,
    tsig_file: str | None,
    wait: float | None,
    withdraw: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Publish the onion-MX record of DOMAIN, by default of all local domains of the configuration.

    Without a name server the records are printed. With one, the difference is shown and sent as an update that
    replaces the SRV records at _onion-mx._tcp.DOMAIN and nothing else, and only if nobody changed them meanwhile.
    Then every name server of the zone is asked whether it serves them, and whether the signature is valid.

    Exit codes: 0 every name server serves the records; 1 with --dry-run: something would change; 64 usage; 75 a name
    server lags behind or could not be asked, or somebody else changed a record meanwhile; 78 configuration, or the
    name server refuses. An update that was refused has changed nothing.
    """
    address = _server(server, configuration)
    from_file = _read_targets(onion_file) if onion_file else ()
    if onions and from_file:
        raise UsageError("--onion and --onion-file both say where the mail is to go: expected one of them")
    named = (*onions, *from_file)
    _check_options(format_name, server, named, address, withdraw=withdraw, dry_run=dry_run, as_json=as_json)
    names = _domains(domains, lists, configuration)
    targets = () if withdraw else parse_targets(from_file) or _targets(onions, configuration)
    lifetime = configuration.publish.ttl if ttl is None else ttl
    wanted = [OnionMxRecords(name, targets, lifetime) for name in names]
    if address is None or (format_name and not dry_run):
        _print_records(wanted, "json" if as_json else format_name or "zone", address)
        return EXIT_FOUND if wait is None else _watch(wanted, configuration, wait)
    with working(f"asking {address[0]}"):
        published = asyncio.run(publish(wanted, address, _key(tsig_file, configuration), dry_run=dry_run))
    if format_name == "nsupdate":
        click.echo(to_script(published.made, address), nl=False)
        print_refusals(published)
        return exit_code(published, (), dry_run=True)
    if not as_json:
        print_changes(published, address, dry_run=dry_run, quiet=quiet)
    looked = () if dry_run else _look(published, configuration, wait or 0.0)
    code = exit_code(published, looked, dry_run=dry_run)
    if as_json:
        write_json(report(published, looked, address, dry_run=dry_run))
    elif looked and not (quiet and code == EXIT_FOUND and not published.made):
        print_servers(looked)
    return code


def _check_options(
    format_name: str | None,
    server: str | None,
    onions: Sequence[str],
    address: tuple[str, int] | None,
    *,
    withdraw: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    if withdraw and onions:
        raise UsageError("--withdraw removes the record, whatever it says: expected no --onion and no --onion-file")
    if dry_run and address is None:
        raise UsageError("--dry-run compares with a name server: name it with --update, or set publish.server")
    if dry_run and format_name not in {None, "nsupdate"}:
        raise UsageError(f"--dry-run shows a difference, which --format {format_name} has no words for: leave it out")
    if format_name and server and not dry_run:
        raise UsageError(
            "--format prints, --update sends: leave one of them out, or add --dry-run to --format nsupdate"
        )
    if as_json and format_name not in {None, "json"}:
        raise UsageError(f"--json and --format {format_name} contradict each other: leave one of them out")
    if withdraw and format_name not in {None, "nsupdate"}:
        raise UsageError(f"--withdraw has no line for --format {format_name}: delete the one that is there")
    if withdraw and format_name is None and address is None:
        raise UsageError("--withdraw: delete the line from the zone, or name the server with --update")


def _server(text: str | None, configuration: Configuration) -> tuple[str, int] | None:
    text = configuration.publish.server if text is None else text
    if not text:
        return None
    try:
        return parse_nameserver(text)
    except ValueError as error:
        raise UsageError(f"--update: {error}") from error


def _key(tsig_file: str | None, configuration: Configuration) -> dns.tsig.Key | None:
    path = configuration.publish.tsig_file if tsig_file is None else tsig_file
    return read_key(path) if path else None


def _domains(domains: Sequence[str], lists: Sequence[str], configuration: Configuration) -> list[str]:
    named = [*map(normalize, domains), *read_domains(map(read_input, lists))]
    if not named and not lists:
        named = sorted(read_local_domains(configuration.local))
    if not named:
        raise ConfigurationError("no domain to publish: name some, or set local.domains or local.file")
    return list(dict.fromkeys(map(check_domain_name, named)))


def _read_targets(file: str) -> tuple[str, ...]:
    """The targets in a file; no message shows what else is there.

    systemd reads it as root in a folder of tor's user, who could put a link to any file of root in its place.
    """
    name, content = read_input(file)
    found = tuple(content.decode("utf-8", "replace").split())
    with suppress(OnionError):
        if parse_targets(found):
            return found
    raise UsageError(f"{name}: expected onions, each once, as in the hostname of a HiddenServiceDir")


def _targets(onions: Sequence[str], configuration: Configuration) -> tuple[Target, ...]:
    targets = parse_targets(onions)
    if targets:
        _warn_of_strangers(targets, configuration)
        return targets
    with open_control(configuration.tor) as controller:
        services = mail_services(controller, kept=Path(configuration.onion.directory))
    if len(services) != 1:
        shown = ", ".join(service.onion or service.problem for service in services)
        many = f"{len(services)} onion services of this tor carry port {DEFAULT_PORT} ({shown}): choose with --onion"
        none = (
            f"no onion service of this tor carries port {DEFAULT_PORT}: make one (onionmx onion create), or name it "
            "with --onion"
        )
        raise ConfigurationError(many if services else none)
    (service,) = services
    if service.onion is None:
        raise ConfigurationError(f"the onion service of this tor: {service.problem}; name it with --onion")
    return (Target(service.onion, DEFAULT_PORT, DEFAULT_PRIORITY, DEFAULT_WEIGHT),)


def _warn_of_strangers(targets: Iterable[Target], configuration: Configuration) -> None:
    """A mistyped or old address is only worth a warning: tor may well run on another machine."""
    try:
        with open_control(configuration.tor) as controller:
            known = {service.onion: service for service in services(controller, Path(configuration.onion.directory))}
    except OnionmxError:
        return
    for target in targets:
        service = known.get(target.onion)
        if service is None:
            why = f"is not an onion service of this tor ({configuration.tor.control}); right if its tor runs elsewhere"
        elif service.ports_known and not service.carries(target.port):
            why = f"does not carry port {target.port} on this tor ({configuration.tor.control})"
        else:
            continue
        click.echo(f"onionmx: warning: {target.onion} {why}", err=True)


def _print_records(wanted: Sequence[OnionMxRecords], format_name: str, server: tuple[str, int] | None) -> None:
    match format_name:
        case "nsupdate":
            click.echo(to_nsupdate(wanted, server), nl=False)
        case "tinydns":
            click.echo(to_tinydns(wanted), nl=False)
        case "json":
            write_json(to_json(wanted))
        case _:
            click.echo(to_zone_text(wanted), nl=False)


def _look(published: PublishReport, configuration: Configuration, wait: float) -> Sequence[Verification]:
    zones = {change.wanted.domain: change.current.zone for change in published.standing}
    wanted = [change.wanted for change in published.standing]
    try:
        return _verify(wanted, configuration, wait, zones)
    except ConfigurationError as error:  # the update is made; only the look at it is not possible
        return [Verification(each.domain, "", (), Signed.UNKNOWN, str(error), problem=str(error)) for each in wanted]


def _watch(wanted: Sequence[OnionMxRecords], configuration: Configuration, wait: float) -> int:
    """Wait for records that somebody else puts into the zone; the report leaves standard output to the records."""
    looked = _verify(wanted, configuration, wait, {})
    print_servers(looked, err=True)
    return exit_code(None, looked, dry_run=False)


def _verify(
    wanted: Sequence[OnionMxRecords], configuration: Configuration, wait: float, zones: Mapping[str, dns.name.Name]
) -> Sequence[Verification]:
    with counting("served by all name servers", len(wanted)) as on_answer:
        return asyncio.run(verify(wanted, configuration.dns, on_answer, zones=zones, wait=wait))
