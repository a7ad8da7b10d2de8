"""A backup of an onion service, and its way back: without the key the address is lost."""

import pwd
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from onionmx.errors import ConfigurationError, InputError, UsageError
from onionmx.files import creating, read_regular, replacing, sync_folder
from onionmx.tor.keys.archive import ServiceFiles, pack, service_files, unpack
from onionmx.tor.keys.encryption import Secrets, decrypted, encrypted
from onionmx.tor.service.balance import OB_CONFIG
from onionmx.tor.service.client_keys import AUTH, FOLDER
from onionmx.tor.service.identity import PUBLIC_KEY, SECRET_KEY
from onionmx.tor.service.running import HOSTNAME
from onionmx.tor.service.tor_files import FILE_MODE, FOLDER_MODE, acting_as, unwritable

REPLACED_SUFFIX = ".before-restore"
_MAX_SIZE = 65536  # bytes of a file of the service
_MAX_BACKUP = 1 << 26  # bytes; one with 10 000 clients has 10 MB


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of it.

    Attributes:
        onion: the service.
        changed: `False` if all its files were there.
        clients: how many it has.
        replaced: where the folder is that was there before; `None` if there was none.
    """

    onion: str
    changed: bool
    clients: int
    replaced: Path | None = None


def back_up(directory: Path, path: Path, secrets: Secrets) -> ServiceFiles:
    """Write an encrypted backup of a service; one that is there is never overwritten.

    Args:
        directory: its HiddenServiceDir.
        path: the backup, mode 0600.
        secrets: recipients, or a passphrase.

    Raises:
        ConfigurationError: the files of the service cannot be read or do not fit together, it cannot be encrypted, or
            the backup cannot be written; there is no backup.
    """
    try:
        service = service_files(_read(directory))
    except InputError as error:
        raise ConfigurationError(f"{directory}: {error}; there is no backup") from error
    archive = pack(service)
    content = encrypted(archive, secrets)
    if secrets.passphrase is not None and decrypted(content, secrets) != archive:
        raise ConfigurationError("openssl does not give back what it has encrypted; there is no backup")
    try:
        with creating(path) as file:
            file.write(content)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{path} is there already: a backup is never overwritten; choose another name"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}; there is no backup") from error
    return service


def restore(  # noqa: PLR0913 -- from where, to where, as whom
    path: Path,
    directory: Path,
    secrets: Secrets,
    user: pwd.struct_passwd | None,
    *,
    onion: str | None = None,
    replaces: bool = False,
) -> Restored:
    """Bring a service back from its backup.

    Args:
        path: the backup.
        directory: where its HiddenServiceDir will be.
        secrets: identities, or a passphrase.
        user: tor's user, to whom the files will belong; `None` for that of this process.
        onion: the address that it must be; `None` for any.
        replaces: put away what is there, even the keys of another onion.

    Raises:
        UsageError: there is no such backup.
        ConfigurationError: it cannot be decrypted, is damaged or of another onion; or something else is in the folder,
            or it cannot be written. Nothing was changed.
    """
    service = _open(path, secrets)
    if onion is not None and service.onion != onion:
        raise ConfigurationError(f"{path} is a backup of {service.onion}, not of {onion}; nothing was changed")
    with acting_as(user), unwritable(directory):
        there = _there(directory)
        if there == service.files:
            return Restored(service.onion, changed=False, clients=service.clients)
        if there is not None and not replaces:
            raise ConfigurationError(
                f"{_what_is(there, service)} in {directory}; nothing was changed: restore to another --directory, or "
                f"say --replace to put it away as {directory.name}{REPLACED_SUFFIX}"
            )
        replaced = _put(service, directory)
    return Restored(service.onion, changed=True, clients=service.clients, replaced=replaced)


def _open(path: Path, secrets: Secrets) -> ServiceFiles:
    try:
        content = read_regular(path, _MAX_BACKUP)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    try:
        archive = decrypted(content, secrets)
    except InputError as error:
        raise ConfigurationError(f"{path}: {error}; nothing was changed") from error
    try:
        return unpack(archive)
    except InputError as error:
        # Of 256 wrong passphrases one is not noticed by openssl.
        doubt = f", or {secrets.passphrase} is not its passphrase" if secrets.passphrase else ""
        raise ConfigurationError(f"{path}: {error}{doubt}; nothing was changed") from error


def _read(directory: Path) -> dict[str, bytes]:
    """The files that belong to a service; others in its folder are not its own."""
    names = [SECRET_KEY, PUBLIC_KEY, HOSTNAME, OB_CONFIG]
    files: dict[str, bytes] = {}
    try:
        with suppress(FileNotFoundError):
            clients = sorted((directory / FOLDER).iterdir())
            names += [f"{FOLDER}/{client.name}" for client in clients if client.name.endswith(AUTH)]
        for name in names:
            with suppress(FileNotFoundError):
                files[name] = read_regular(directory / name, _MAX_SIZE)
    except OSError as error:
        what = error.filename or directory
        raise ConfigurationError(f"{what} cannot be read: {error.strerror}; run as root or as tor's user") from error
    return files


def _there(directory: Path) -> Mapping[str, bytes] | None:
    """What is in the folder; `None` if there is nothing in it, or no folder."""
    try:
        if not any(directory.iterdir()):
            return None
    except FileNotFoundError:
        return None
    return _read(directory)


def _what_is(there: Mapping[str, bytes], service: ServiceFiles) -> str:
    try:
        onion = service_files(there).onion
    except InputError:
        return "there is a key that is not in this backup" if SECRET_KEY in there else "there are other files"
    if onion == service.onion:
        return "this onion is there with other clients or settings than in the backup"
    return f"there is another onion, {onion},"


def _put(service: ServiceFiles, directory: Path) -> Path | None:
    """Put the folder in place, whole."""
    temporary = Path(mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        for name, content in service.files.items():
            file_path = temporary / name
            file_path.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
            with replacing(file_path, FILE_MODE) as file:
                file.write(content)
        return _exchange(temporary, directory)
    except BaseException:
        rmtree(temporary, ignore_errors=True)
        raise


def _exchange(temporary: Path, directory: Path) -> Path | None:
    replaced: Path | None = None
    if directory.exists() and any(directory.iterdir()):
        replaced = directory.with_name(f"{directory.name}{REPLACED_SUFFIX}")
        if replaced.exists():
            raise ConfigurationError(f"{replaced} is there from before: move it away; nothing was changed")
        directory.rename(replaced)
    try:
        temporary.rename(directory)
    except BaseException:
        if replaced is not None:
            replaced.rename(directory)
        raise
    sync_folder(directory.parent)
    return replaced
