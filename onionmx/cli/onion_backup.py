"""`onionmx onion backup` and `restore`."""

from pathlib import Path

import click

from onionmx.cli.onion_options import directory_option, folder_of
from onionmx.cli.options import configuration_option
from onionmx.config import Configuration
from onionmx.errors import UsageError
from onionmx.onion import parse_onion
from onionmx.tor.keys.backup import back_up, restore
from onionmx.tor.keys.encryption import Secrets
from onionmx.tor.service.folder import configured_user

_passphrase_option = click.option(
    "--passphrase",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File whose first line is the passphrase, mode 0600, for openssl.",
)


@click.command("backup")
@configuration_option
@click.argument("file", type=click.Path(path_type=Path))
@directory_option
@click.option(
    "--recipients",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File with the public keys of those who may decrypt it, one a line, for age.",
)
@_passphrase_option
def backup_command(
    configuration: Configuration,
    *,
    file: Path,
    directory: str | None,
    recipients: Path | None,
    passphrase: Path | None,
) -> None:
    """Write an encrypted backup of the onion to FILE, mode 0600: its key, its address, and the keys of its clients.

    Exactly one of --recipients (age) and --passphrase (openssl) is needed. The key is checked against the address
    before anything is written. A FILE that is there is never overwritten. tor is not asked.

    Exit codes: 0 the backup is there; 64 neither or both of the options; 78 the files of the onion cannot be read or
    do not fit together, age or openssl is missing or refuses, or FILE cannot be written: then there is no backup.
    """
    secrets = _secrets(recipients, passphrase, "--recipients")
    service = back_up(folder_of(configuration, directory), file, secrets)
    click.echo(service.onion)
    click.echo(f"its backup, with {_counted(service.clients)}, is {file}")


@click.command("restore")
@configuration_option
@click.argument("file", type=click.Path(path_type=Path))
@directory_option
@click.option(
    "--identity",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File with the private key, mode 0600, for age.",
)
@_passphrase_option
@click.option("--onion", metavar="ONION", help="Refuse a backup of any other onion.")
@click.option(
    "--replace",
    "replaces",
    is_flag=True,
    help="Put away what is in the folder, even another onion's keys: it is renamed to DIR.before-restore.",
)
def restore_command(
    configuration: Configuration,
    *,
    file: Path,
    directory: str | None,
    identity: Path | None,
    passphrase: Path | None,
    onion: str | None,
    replaces: bool,
) -> None:
    """Bring an onion back from the backup FILE.

    It is decrypted and checked first: the secret key has to give the public key and the address. Its folder then
    appears whole, and belongs to tor's user (tor.user). tor is not asked: `onionmx onion create` has it serve the
    onion; one that has served another onion from this folder has to be restarted.

    Exit codes: 0 it is there; 64 neither or both of --identity and --passphrase, or no such FILE; 78 it cannot be
    decrypted, is damaged or of another onion, something else is in the folder, or it cannot be written. At all but 0
    nothing was changed.
    """
    secrets = _secrets(identity, passphrase, "--identity")
    wanted = None if onion is None else parse_onion(onion)
    user = configured_user(configuration.tor.user)
    done = restore(file, folder_of(configuration, directory), secrets, user, onion=wanted, replaces=replaces)
    click.echo(done.onion)
    folder = folder_of(configuration, directory)
    if not done.changed:
        click.echo(f"it is in {folder}, as in the backup; nothing was changed")
        return
    click.echo(f"it is in {folder}, with {_counted(done.clients)}")
    if done.replaced is None:
        click.echo("onionmx onion create has tor serve it")
    else:
        click.echo(f"what was there is {done.replaced}; restart tor, if it serves that")


def _secrets(age: Path | None, passphrase: Path | None, option: str) -> Secrets:
    if (age is None) == (passphrase is None):
        raise UsageError(f"say either {option} FILE, for age, or --passphrase FILE, for openssl")
    return Secrets(age, passphrase)


def _counted(clients: int) -> str:
    return "the key of 1 client" if clients == 1 else f"the keys of {clients} clients"


COMMANDS: tuple[click.Command, ...] = (backup_command, restore_command)
