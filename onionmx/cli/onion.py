"""`onionmx onion`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from onionmx.cli import onion_backup, onion_keys
from onionmx.cli.onion_options import directory_option, folder_of, telling, wait_option
from onionmx.cli.options import Seconds, configuration_option, json_option, write_json
from onionmx.config import Configuration, parse_socket
from onionmx.errors import EXIT_FOUND, EXIT_NO_ROUTE, EXIT_TEMPORARY, UsageError
from onionmx.onion import DEFAULT_PORT, MAX_PORT, parse_onion
from onionmx.tor.control import open_control
from onionmx.tor.service.create import create_in_torrc
from onionmx.tor.service.descriptor import FETCH_TIMEOUT, Publication, PublishedDescriptor, published
from onionmx.tor.service.over_control import create_over_control
from onionmx.tor.service.running import OnionService, services
from onionmx.tor.service.torrc import Forward
from onionmx.tor.service.wanted import POW, Created, WantedService, is_trusted_address, lacks_pow
from onionmx.tor.socks_port import client_port_advice

_NONE_CARRIES = EXIT_NO_ROUTE
_port_option = click.option(
    "--port",
    type=click.IntRange(1, MAX_PORT),
    default=DEFAULT_PORT,
    show_default=True,
    help="Virtual port of the onion service, which the SRV record names.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Make the onion service for mail, look at it, make it private, keep its key safe.

    tor is asked over its control port (tor.control), with its cookie or the password in tor.control_password_file.
    """


@command.command()
@configuration_option
@click.option("--forward", metavar="IP:PORT", help="Where tor hands connections to the MTA (default: onion.forward).")
@_port_option
@directory_option
@click.option(
    "--trusted-address",
    is_flag=True,
    help="Forward to 127.0.0.1 or ::1 anyway. MTAs take a client that connects from there for a local user, so "
    "anybody on Tor could send mail to anywhere through this host: an open relay.",
)
@click.option(
    "--haproxy",
    is_flag=True,
    help="HiddenServiceExportCircuitID haproxy: a PROXY line before each connection tells the MTA its Tor circuit, "
    "so that it can limit or log clients, who otherwise all look the same. The MTA has to expect the line (Postfix: "
    "smtpd_upstream_proxy_protocol=haproxy, Exim: hosts_proxy), else it refuses all mail.",
)
@click.option(
    "--pow/--no-pow",
    "proof_of_work",
    default=None,
    help="HiddenServicePoWDefensesEnabled 1: while the service is flooded, clients that do a proof of work come first. "
    "Costs nothing while it is not; a new service has it unless --no-pow says otherwise.",
)
@click.option(
    "--max-streams",
    type=click.IntRange(0, 65535),
    default=0,
    help="HiddenServiceMaxStreams N: connections at the same time in one circuit, so that one client cannot take all "
    "places of the MTA. A sending server uses a few; 0, the default, is no limit.",
)
@click.option(
    "--long-lived-ports",
    is_flag=True,
    help="Add the port to LongLivedPorts: tor then builds its circuits of relays that stay up, so that large messages "
    "break off less often. It is not in tor's own list.",
)
@click.option(
    "--instance-of",
    "front",
    metavar="FRONT",
    help="HiddenServiceOnionBalanceInstance 1: make it one of several services behind the onion FRONT, which "
    "Onionbalance publishes. Senders connect to FRONT; its record is the one to publish.",
)
@click.option(
    "--over-control",
    is_flag=True,
    help="Make it over the control port (ADD_ONION), without touching torrc. The key is kept in the folder, in tor's "
    "own form and with mode 0600, and used again; tor forgets the service when it stops, so repeat this after each "
    "start.",
)
@wait_option
@click.option("-n", "--dry-run", is_flag=True, help="Check and show, but change nothing.")
@json_option
def create(
    configuration: Configuration,
    *,
    forward: str | None,
    port: int,
    directory: str | None,
    max_streams: int,
    wait: float,
    trusted_address: bool,
    haproxy: bool,
    proof_of_work: bool | None,
    long_lived_ports: bool,
    front: str | None,
    over_control: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Add an onion service that hands connections to the MTA. Other services stay as they are.

    Lines are added to torrc after tor has checked the new text (tor --verify-config), and the running tor takes them
    at once; the old torrc is kept beside it as torrc.before-onionmx. Asked for twice, the service is made once.

    The client port is left alone: where it lacks OnionTrafficOnly (nothing but onions leaves through it) or
    ExtendedErrors (tor says why an onion cannot be reached), the lines for torrc are printed.

    Exit codes: 0 it is there; 64 an impossible address; 75 tor's control port does not answer, or tor did not take the
    service; 78 torrc cannot be changed, or tor would not accept it. At all but 0 nothing was changed.
    """
    wanted = WantedService(
        directory=folder_of(configuration, directory),
        forward=_forward(port, forward or configuration.onion.forward, trusted=trusted_address),
        haproxy=haproxy,
        proof_of_work=proof_of_work,
        max_streams=max_streams,
        long_lived=long_lived_ports,
        front=None if front is None else parse_onion(front),
    )
    with telling("making the onion service"), open_control(configuration.tor) as controller:
        if over_control:
            created = create_over_control(controller, wanted, wait, dry_run=dry_run)
        else:
            created = create_in_torrc(controller, configuration.tor, wanted, wait, dry_run=dry_run)
        advice = client_port_advice(controller, configuration.tor.socks)
        if proof_of_work is None and lacks_pow(controller):
            advice.append(f"# this tor is too old for {POW}, which needs 0.4.8: bring it up to date")
    if as_json:
        write_json({**asdict(created), "dry_run": dry_run, "advice": advice})
        return
    _print_created(created, wanted, over_control=over_control, dry_run=dry_run)
    for line in advice:
        click.echo(line)


@command.command()
@configuration_option
@_port_option
@click.option(
    "--timeout",
    type=Seconds(1, 600),
    default=FETCH_TIMEOUT,
    show_default=True,
    help="Seconds for asking the directories about one service.",
)
@json_option
def show(configuration: Configuration, port: int, timeout: float, *, as_json: bool) -> int:
    """List the onion services of this tor that carry the port, and whether clients can find them.

    Exit codes: 0 at least one does, and all are published; 1 none does, or one is not published; 75 could not tell.
    """
    with telling("asking the onion service directories"), open_control(configuration.tor) as controller:
        found = services(controller, Path(configuration.onion.directory))
        carrying = [service for service in found if service.carries(port)]
        unknown = [service for service in found if not service.ports_known]
        states = [_published(controller, service, timeout) for service in carrying]
    if as_json:
        pairs = zip(carrying, states, strict=True)
        write_json(
            {
                "services": [_as_json(service) | {"published": asdict(state)} for service, state in pairs],
                "ports_unknown": [service.onion for service in unknown],
            }
        )
    else:
        for service, state in zip(carrying, states, strict=True):
            _print_service(service, state)
        for service in unknown:
            click.echo(f"{service.onion}\n  {service.problem}")
        if not carrying:
            click.echo(f"no onion service of this tor is known to carry port {port}: onionmx onion create makes one")
    return _exit_code(states, unknown)


def _forward(port: int, text: str, *, trusted: bool) -> Forward:
    try:
        host, target_port = parse_socket(text)
    except ValueError as error:
        raise UsageError(f"forward: {error}") from error
    if is_trusted_address(host) and not trusted:
        raise UsageError(
            f"forward: MTAs trust clients from {host}, and would relay mail for anybody on Tor: use 127.0.0.2:25 "
            "with a listener there, or say --trusted-address if your MTA does not trust it"
        )
    return Forward(port, host, target_port)


def _published(controller: Any, service: OnionService, timeout: float) -> PublishedDescriptor:  # noqa: ANN401 -- stem has no types
    if service.onion is None:
        return PublishedDescriptor(Publication.UNKNOWN, service.problem)
    return published(controller, service.onion, timeout)


def _exit_code(states: list[PublishedDescriptor], unknown: list[OnionService]) -> int:
    answers = {state.state for state in states}
    if Publication.NOT_PUBLISHED in answers:
        return EXIT_NO_ROUTE
    if Publication.UNKNOWN in answers or (not answers and unknown):
        return EXIT_TEMPORARY
    return EXIT_FOUND if answers else _NONE_CARRIES


def _print_created(created: Created, wanted: WantedService, *, over_control: bool, dry_run: bool) -> None:
    if dry_run and created.changed:
        click.echo(f"would add (dry run, nothing was changed):\n{created.lines}", nl=False)
        return
    click.echo(created.onion or created.problem)
    lead = f"port {wanted.forward.port} leads to {wanted.forward.target}"
    if not created.changed:
        click.echo(f"{lead}; it was there before, nothing was changed")
        return
    click.echo(
        f"{lead}; its key is in {wanted.directory}: keep a copy (onionmx onion backup); anyone who has the key is this "
        "onion"
    )
    if over_control:
        click.echo("tor forgets it when it stops: repeat this command after each start of tor")
    if created.published is not None:
        click.echo(f"descriptor {created.published}")


def _print_service(service: OnionService, state: PublishedDescriptor) -> None:
    click.echo(service.onion or service.problem)
    for forward in service.ports:
        click.echo(f"  port {forward.port} leads to {forward.target}")
    made = f"made by torrc, in {service.directory}" if service.directory else "made over the control port"
    click.echo(f"  {made}")
    for keyword, value in service.options.items():
        click.echo(f"  {keyword} {value}")
    click.echo(f"  descriptor {state}")


def _as_json(service: OnionService) -> dict[str, Any]:
    return {
        "onion": service.onion,
        "ports": [{"port": forward.port, "target": forward.target} for forward in service.ports],
        "directory": service.directory,
        "options": dict(service.options),
        "problem": service.problem,
    }


for _subcommand in (*onion_keys.COMMANDS, *onion_backup.COMMANDS):
    command.add_command(_subcommand)
