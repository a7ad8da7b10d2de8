"""The clients that a private onion service knows: the files in its folder (tor(1), CLIENT AUTHORIZATION)."""

from dataclasses import dataclass
from pathlib import Path

from onionmx.errors import ConfigurationError, InputError
from onionmx.files import read_regular
from onionmx.tor.service.client_keys import AUTH, FOLDER, parse_auth

_MAX_SIZE = 4096  # bytes; one line of 70


@dataclass(frozen=True, slots=True)
class Client:
    """A file of the folder.

    Attributes:
        name: of the file, without `.auth`.
        public: the client's public key in base32; empty where tor cannot read it.
        problem: why it cannot; such a client is not authorized.
    """

    name: str
    public: str
    problem: str = ""


def read_clients(directory: Path) -> list[Client]:
    """The clients of a service, by name; without any that tor can read, it is open to all.

    Args:
        directory: its HiddenServiceDir.

    Raises:
        ConfigurationError: the folder cannot be read; one that is not there has no clients.
    """
    folder = directory / FOLDER
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(AUTH))
    except FileNotFoundError:
        _check_readable(directory)
        return []
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be read: {error.strerror}; run as root or as tor's user") from error
    return [_client(path) for path in paths]


def _check_readable(directory: Path) -> None:
    try:
        next(directory.iterdir(), None)
    except OSError as error:
        raise ConfigurationError(
            f"{directory} cannot be read: {error.strerror}; expected the folder of an onion service"
        ) from error


def _client(path: Path) -> Client:
    name = path.name.removesuffix(AUTH)
    try:
        return Client(name, parse_auth(read_regular(path, _MAX_SIZE).decode("ascii", "replace")))
    except InputError as error:
        return Client(name, "", str(error))
    except OSError as error:
        return Client(name, "", f"it cannot be read: {error.strerror}")
