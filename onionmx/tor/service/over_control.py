"""Making an onion service over the control port, with a key that is kept, and making it again."""

import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.errors import ConfigurationError, ControlError, InputError, UsageError
from onionmx.files import read_secret, replacing
from onionmx.onion import SUFFIX
from onionmx.tor.service.balance import INSTANCE
from onionmx.tor.service.client_keys import AUTH, FOLDER
from onionmx.tor.service.clients import read_clients
from onionmx.tor.service.descriptor import DescriptorEvents
from onionmx.tor.service.folder import is_same_folder
from onionmx.tor.service.identity import SECRET_KEY, format_secret_key, parse_secret_key
from onionmx.tor.service.running import HOSTNAME, RECORD, read_hostname, read_record, services
from onionmx.tor.service.tor_files import acting_as, owner_of
from onionmx.tor.service.torrc import DIRECTORY, format_block
from onionmx.tor.service.wanted import (
    EXPORT_CIRCUIT,
    LONG_LIVED_PORTS,
    MAX_STREAMS,
    POW,
    Created,
    WantedService,
    is_as_wanted,
    known_to,
    other_service,
)

if TYPE_CHECKING:
    from stem.control import Controller


def create_over_control(controller: "Controller", wanted: WantedService, wait: float, *, dry_run: bool) -> Created:
    """Make a service that tor forgets when it stops, with a key that stays; to be repeated after each start of tor.

    The key is kept in tor's own form, so that the folder can become a HiddenServiceDir. Root keeps it as the owner of
    the folder, so that the watch can go on reading it where that is tor's user.

    Args:
        wanted: the service; `directory` is where its key is, or will be.
        wait: seconds to wait for its descriptor to be published.
        dry_run: change nothing.

    Raises:
        UsageError: an option that only torrc has.
        ConfigurationError: the key cannot be read or written, or there is another service with it.
        stem.ControllerError: tor refuses; `open_control` makes a ControlError of it.
    """
    if wanted.haproxy or wanted.long_lived or wanted.front is not None:
        raise UsageError(
            f"{EXPORT_CIRCUIT}, {LONG_LIVED_PORTS} and {INSTANCE} exist in torrc only, not over the control port"
        )
    with acting_as(owner_of(wanted.directory)):
        return _create_over_control(controller, known_to(controller, wanted), wait, dry_run=dry_run)


def _create_over_control(controller: "Controller", wanted: WantedService, wait: float, *, dry_run: bool) -> Created:
    lines = format_block(wanted.block())
    running = services(controller, wanted.directory)
    if any(is_same_folder(service.directory, wanted.directory) for service in running):
        raise ConfigurationError(f"{wanted.directory} is the {DIRECTORY} of a service in torrc: use another folder")
    recorded = read_record(wanted.directory)
    if recorded is not None and recorded in running:
        if not is_as_wanted(recorded, wanted):
            raise other_service(recorded, wanted, "restart tor to be rid of it")
        return Created(changed=False, onion=recorded.onion, lines="", problem=recorded.problem)
    key = _read_key(wanted.directory / SECRET_KEY)
    if dry_run:
        return Created(changed=True, onion=read_hostname(wanted.directory)[0] if key else None, lines=lines)
    if not os.access(_make_folder(wanted.directory), os.W_OK | os.X_OK, effective_ids=True):
        raise ConfigurationError(f"{wanted.directory} is not writable: the key of the service is kept there")
    with DescriptorEvents(controller) as events:
        onion = _add(controller, wanted, key, lines)
        state = events.wait_for_uploads(onion, wait) if wait else None
    return Created(changed=True, onion=onion, lines=lines, published=state)


def add_again(controller: "Controller", directory: Path) -> Callable[[], None]:
    """What makes a service anew that `create_over_control` made, once tor has been told to forget it.

    Key, record and clients are read now, so that nothing is missing then.

    Args:
        directory: where its key is.

    Raises:
        ConfigurationError: one of them cannot be read. What is returned raises `ControlError` if tor does not make the
            service.
    """
    recorded, key, clients = read_record(directory), _read_key(directory / SECRET_KEY), _clients(directory)
    if recorded is None or not recorded.ports or key is None:
        raise ConfigurationError(f"{directory} has no key and record of a service that was made over the control port")
    wanted = WantedService(
        directory,
        recorded.ports[0],
        proof_of_work=recorded.options.get(POW) == "1",
        max_streams=int(recorded.options.get(MAX_STREAMS, "0")),
    )

    def add() -> None:
        _add_onion(controller, wanted, key, clients)

    return add


def _add(controller: "Controller", wanted: WantedService, key: bytes | None, lines: str) -> str:
    values = _add_onion(controller, wanted, key, _clients(wanted.directory))
    label = values["ServiceID"]
    try:
        if key is None:
            key = b64decode(values["PrivateKey"].partition(":")[2], validate=True)
            _write(wanted.directory / SECRET_KEY, format_secret_key(key))
        _write(wanted.directory / HOSTNAME, f"{label}{SUFFIX}\n".encode())
        _write(wanted.directory / RECORD, lines.encode())
    except (OSError, KeyError, Base64Error) as error:
        controller.msg(f"DEL_ONION {label}")
        raise ConfigurationError(
            f"the key cannot be kept in {wanted.directory}: {error}; there is no service"
        ) from error
    return label + SUFFIX


def _add_onion(
    controller: "Controller", wanted: WantedService, key: bytes | None, clients: list[str]
) -> dict[str, str]:
    words = ["ADD_ONION", "NEW:ED25519-V3" if key is None else f"ED25519-V3:{b64encode(key).decode()}"]
    words.append("Flags=Detach,V3Auth" if clients else "Flags=Detach")
    words += [f"ClientAuthV3={public}" for public in clients]
    if wanted.proof_of_work is not False:
        words.append("PoWDefensesEnabled=1")
    if wanted.max_streams:
        words.append(f"MaxStreams={wanted.max_streams}")
    words.append(f"Port={wanted.forward.port},{wanted.forward.target}")
    answer = controller.msg(" ".join(words))
    if not answer.is_ok():
        raise ControlError(f"tor does not make the service: {answer}")
    return dict(line.split("=", 1) for _, _, line in answer.content() if "=" in line)


def _clients(directory: Path) -> list[str]:
    """The public keys of the clients of a private service, which must not become an open one here."""
    clients = read_clients(directory)
    if broken := next((client for client in clients if client.problem), None):
        raise ConfigurationError(f"{directory / FOLDER / broken.name}{AUTH}: {broken.problem}")
    return [client.public for client in clients]


def _read_key(path: Path) -> bytes | None:
    try:
        content = read_secret(path, "the key")
    except FileNotFoundError:
        return None
    try:
        return parse_secret_key(content)
    except InputError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _make_folder(directory: Path) -> Path:
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be made: {error.strerror}") from error
    return directory


def _write(path: Path, content: bytes) -> None:
    with replacing(path, 0o600) as file:
        file.write(content)
