"""`onionmx onion authorize`, `revoke`, `list` and `use-key`: private onions."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from onionmx.cli.onion_options import directory_option, folder_of, telling, wait_option
from onionmx.cli.options import configuration_option, json_option, write_json
from onionmx.config import Configuration
from onionmx.errors import ConfigurationError, InputError, UsageError
from onionmx.files import creating, read_secret
from onionmx.tor.control import open_control
from onionmx.tor.keys.authorize import ClientChange, authorize, revoke
from onionmx.tor.keys.use_key import use_key
from onionmx.tor.service.client_keys import (
    AUTH_PRIVATE,
    CLOSED,
    ClientKey,
    new_client_key,
    parse_auth_private,
    parse_client_name,
    parse_public_key,
)
from onionmx.tor.service.clients import Client, read_clients
from onionmx.tor.service.reload import service_in

_STANDARD = "-"


@click.command("authorize")
@configuration_option
@click.argument("name")
@click.argument("key", required=False)
@directory_option
@click.option(
    "--output",
    metavar="FILE",
    help="Where to write the private key for the sender, where no KEY is given; - prints it and nothing else (default: "
    "NAME.auth_private here).",
)
@wait_option
@json_option
def authorize_command(
    configuration: Configuration,
    *,
    name: str,
    key: str | None,
    directory: str | None,
    output: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Let a sending server reach the onion; with the first one all others are kept out.

    NAME is your name for it, such as its domain. KEY is its public key, 52 base32 characters or the line of tor's
    .auth file. Without a KEY a pair is made, and the private half is written to a file with mode 0600 for the sender,
    who gives it to `onionmx onion use-key`; no copy stays here.

    The service has to be in torrc. With its first client tor renews it, and all its open connections end, as with
    revoke; with further ones they stay.

    Exit codes: 0 it is authorized; 64 the name or the key is impossible; 75 tor's control port does not answer, or tor
    did not take it; 78 there is no such service, another client has the name or the key, or a file cannot be written.
    At all but 0 nothing was changed.
    """
    parse_client_name(name)
    if key is not None and output is not None:
        raise UsageError("--output is for the private key of a pair made here: leave it out, or KEY")
    public = parse_public_key(key) if key is not None else None
    folder = folder_of(configuration, directory)
    with telling("publishing the descriptor"), open_control(configuration.tor) as controller:
        if public is not None:
            change = authorize(controller, configuration.tor, folder, Client(name, public), wait)
            written = ""
        else:
            onion = service_in(controller, folder).onion
            if onion is None:
                raise ConfigurationError(f"{folder}/hostname cannot be read, and the key has to name the onion")
            made = new_client_key(onion)
            path = output or f"{name}{AUTH_PRIVATE}"
            with _key_file(path, made) as written:
                client = Client(name, made.public)
                change = authorize(controller, configuration.tor, folder, client, wait)
    if as_json and output != _STANDARD:
        write_json({**asdict(change), "private_key_file": written or None})
        return
    # Beside a key on standard output nothing else goes there: it may be piped to the sender's use-key.
    _print_change(change, f"{name} is authorized", err=output == _STANDARD)
    if written:
        click.echo(f"the private key is in {written}: bring it to {name} safely, then remove it here")


@click.command("revoke")
@configuration_option
@click.argument("name")
@directory_option
@click.option(
    "--open",
    "opens",
    is_flag=True,
    help="If no client is left then, open the onion to everybody; without this it is closed to everybody.",
)
@wait_option
@json_option
def revoke_command(
    configuration: Configuration, *, name: str, directory: str | None, opens: bool, wait: float, as_json: bool
) -> None:
    """Keep out a sending server that was authorized.

    tor renews the service, with other introduction points, because a client may keep the old descriptor for hours:
    all open connections of the service end, and the others' servers connect again.

    Exit codes: 0 it is revoked; 75 tor's control port does not answer, or tor did not do it; 78 there is no such
    service or client, or a file cannot be changed. At all but 0 nothing was changed.
    """
    folder = folder_of(configuration, directory)
    with telling("renewing the service"), open_control(configuration.tor) as controller:
        change = revoke(controller, configuration.tor, folder, name, wait, opens=opens)
    if as_json:
        write_json(asdict(change))
        return
    _print_change(change, f"{name} is revoked")


@click.command("list")
@configuration_option
@directory_option
@json_option
def list_command(configuration: Configuration, *, directory: str | None, as_json: bool) -> None:
    """List the clients that may reach the onion, with their public keys. tor is not asked.

    Exit codes: 0 done; 78 the folder cannot be read.
    """
    clients = read_clients(folder_of(configuration, directory))
    if as_json:
        write_json([asdict(client) for client in clients])
        return
    for client in clients:
        if client.name != CLOSED:
            click.echo(f"{client.name} {client.public or f'tor ignores it: {client.problem}'}")
    _print_state(clients)


@click.command("use-key")
@configuration_option
@click.argument("file")
@json_option
def use_key_command(configuration: Configuration, *, file: str, as_json: bool) -> None:
    """Have this host's tor use the private key for an onion, which the onion's operator has sent.

    FILE is what `onionmx onion authorize` has written: a line ADDRESS:descriptor:x25519:KEY, mode 0600; - reads
    standard input. It is copied to ClientOnionAuthDir of torrc; where torrc has none, the line is added after tor has
    checked the new text, and the old torrc is kept as torrc.before-onionmx. A key that tor had for this onion is
    replaced.

    Exit codes: 0 tor has it; 64 it is not a key; 75 tor's control port does not answer, or tor did not take it; 78
    torrc or the folder cannot be changed, or others may read FILE. At all but 0 nothing was changed.
    """
    key = _read_key(file)
    with open_control(configuration.tor) as controller:
        used = use_key(controller, configuration.tor, key)
    if as_json:
        write_json({"onion": key.onion, "path": str(used.path), "changed": used.changed, "lines": used.lines})
        return
    click.echo(key.onion)
    if used.changed:
        click.echo(f"its key is in {used.path}; tor uses it from now on: remove {file} if you need no other copy")
    else:
        click.echo(f"its key was in {used.path} before; tor has read it again")


def _read_key(file: str) -> ClientKey:
    name = "standard input" if file == _STANDARD else file
    try:
        content = sys.stdin.buffer.read() if file == _STANDARD else read_secret(Path(file), "the private key")
    except FileNotFoundError as error:
        raise UsageError(f"{file} does not exist") from error
    try:
        return parse_auth_private(content.decode("ascii", "replace"))
    except InputError as error:
        raise UsageError(f"{name}: {error}") from error


@contextmanager
def _key_file(path: str, key: ClientKey) -> Iterator[str]:
    """Write the sender's key; taken away where the body raises. To standard output only when the body is done."""
    if path == _STANDARD:
        yield ""
        click.echo(str(key), nl=False)
        return
    try:
        with creating(Path(path)) as file:
            file.write(str(key).encode())
            file.flush()
            os.fsync(file.fileno())
            yield path
    except FileExistsError as error:
        raise ConfigurationError(
            f"{path} is there already: a key is never overwritten; choose another --output"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}; choose another --output") from error


def _print_change(change: ClientChange, words: str, *, err: bool = False) -> None:
    click.echo(change.onion or "the address of the service cannot be read", err=err)
    click.echo(words if change.changed else f"{words}; it was so before, nothing was changed", err=err)
    _print_state(change.clients, err=err)
    if change.published is not None:
        click.echo(f"descriptor {change.published}", err=err)


def _print_state(clients: Sequence[Client], *, err: bool = False) -> None:
    names = [client.name for client in clients if client.public and client.name != CLOSED]
    if names:
        counted = "1 client" if len(names) == 1 else f"{len(names)} clients"
        click.echo(f"private: {counted} can reach it, nobody else", err=err)
    elif any(client.public for client in clients):
        click.echo("closed: nobody can reach it; onionmx onion authorize lets a client in", err=err)
    else:
        click.echo("open: everybody who knows the address can reach it", err=err)


COMMANDS: tuple[click.Command, ...] = (authorize_command, revoke_command, list_command, use_key_command)
