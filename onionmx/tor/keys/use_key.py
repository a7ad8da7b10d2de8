"""The keys by which this host finds private onions: files in ClientOnionAuthDir (tor(1), CLIENT AUTHORIZATION)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.config import TorSection
from onionmx.errors import ConfigurationError, InputError
from onionmx.files import read_regular
from onionmx.tor.service.client_keys import AUTH_PRIVATE, ClientKey, parse_auth_private
from onionmx.tor.service.folder import prepared, tor_user
from onionmx.tor.service.tor_files import acting_as, changed, unwritable
from onionmx.tor.service.torrc import BEGIN_KEYS_MARK, Option, appended, format_options
from onionmx.tor.service.torrc_file import TorrcFile

if TYPE_CHECKING:
    from pwd import struct_passwd

    from stem.control import Controller

DIRECTORY_OF_KEYS = "ClientOnionAuthDir"
FOLDER = "onion-auth"
"""In tor's DataDirectory, where torrc names no other."""
_MAX_SIZE = 4096  # bytes; one line of 130


@dataclass(frozen=True, slots=True)
class UsedKey:
    """What became of it.

    Attributes:
        changed: `False` if tor has had it before.
        path: the file.
        lines: torrc lines that were added; empty where there were such.
    """

    changed: bool
    path: Path
    lines: str = ""


def use_key(controller: "Controller", settings: TorSection, key: ClientKey) -> UsedKey:
    """Have tor use a key for a private onion; one that it had for this onion is replaced.

    Raises:
        ConfigurationError: torrc or the folder of keys cannot be changed, or tor would not accept it; nothing was
            changed.
        ControlError: tor did not take it; nothing was changed.
        LockedError: another process is changing torrc.
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    folder = controller.get_conf(DIRECTORY_OF_KEYS, None)
    if folder:
        with _written(tor_user(controller, settings.user), Path(folder), key) as used:
            # tor reads all files of the folder again, and leaves everything else as it is.
            controller.set_conf(DIRECTORY_OF_KEYS, folder)
        return used
    torrc = TorrcFile(settings, controller)
    with torrc.locked():
        return _in_new_folder(torrc, Path(controller.get_conf("DataDirectory")) / FOLDER, key)


def _in_new_folder(torrc: TorrcFile, folder: Path, key: ClientKey) -> UsedKey:
    option = Option(DIRECTORY_OF_KEYS, str(folder))
    lines = format_options(BEGIN_KEYS_MARK, [option])
    text = torrc.read()
    new = appended(text, lines)
    user = torrc.user()
    with prepared(folder, user), _written(user, folder, key) as used:
        torrc.verify(new)  # tor looks into the folder, too
        with torrc.replaced(text, new, [option]):
            pass
    return replace(used, changed=True, lines=lines)


@contextmanager
def _written(user: "struct_passwd | None", folder: Path, key: ClientKey) -> Iterator[UsedKey]:
    """Write the file of a key, and put back what was there where the body raises."""
    with acting_as(user), unwritable(folder):
        path, there = _file_of(folder, key)
    with changed({path: str(key).encode()}, user):
        yield UsedKey(changed=there != key, path=path)


def _file_of(folder: Path, key: ClientKey) -> tuple[Path, ClientKey | None]:
    """Where the key for this onion is or should be, and the one that is there."""
    for path in sorted(folder.iterdir()):
        if path.name.endswith(AUTH_PRIVATE) and (there := _read(path)) and there.onion == key.onion:
            if path.name != key.file_name and there != key:
                raise ConfigurationError(f"{path} has another key for {key.onion}: remove it first")
            return path, there
    return folder / key.file_name, None


def _read(path: Path) -> ClientKey | None:
    try:
        return parse_auth_private(read_regular(path, _MAX_SIZE).decode("ascii", "replace"))
    except InputError:
        return None  # tor does not read it either
