"""Which clients may find a private onion service: authorized, revoked."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stem import ControllerError

from onionmx.config import TorSection
from onionmx.errors import ConfigurationError
from onionmx.files import alone
from onionmx.tor.service.balance import INSTANCE
from onionmx.tor.service.client_keys import AUTH, CLOSED, FOLDER, format_auth, new_client_key
from onionmx.tor.service.clients import Client, read_clients
from onionmx.tor.service.descriptor import DescriptorEvents, Publication, PublishedDescriptor
from onionmx.tor.service.folder import tor_user
from onionmx.tor.service.reload import reload_services, renew_service, service_in
from onionmx.tor.service.running import OnionService
from onionmx.tor.service.tor_files import FOLDER_MODE, acting_as, changed, unwritable

if TYPE_CHECKING:
    from stem.control import Controller


@dataclass(frozen=True, slots=True)
class ClientChange:
    """What became of it.

    Attributes:
        onion: the service; `None` where its address cannot be read.
        changed: `False` if all was so before.
        clients: those that it has now.
        published: what the directories said; `None` where nobody waited for them.
    """

    onion: str | None
    changed: bool
    clients: tuple[Client, ...]
    published: PublishedDescriptor | None = None

    @property
    def is_open(self) -> bool:
        """Whether everybody can reach it."""
        return not any(client.public for client in self.clients)


def authorize(
    controller: "Controller", settings: TorSection, directory: Path, client: Client, wait: float
) -> ClientChange:
    """Let a client in. With the first one the service becomes private: all others are kept out from then on.

    It is then renewed as by `revoke`; for a further client it stays, with all its connections.

    Args:
        directory: HiddenServiceDir of a service of torrc.
        client: name and public key, both checked.
        wait: seconds to wait for the new descriptor to be published.

    Raises:
        ConfigurationError: there is no such service, another client has this name or key, or the folder cannot be
            written; nothing was changed.
        ControlError: tor does not answer or did not take it; nothing was changed.
        LockedError: another process is changing the clients.
    """
    service = service_in(controller, directory)
    if service.options.get(INSTANCE) == "1":
        raise ConfigurationError(
            f"the service in {directory} is an instance behind an Onionbalance front, which could not read its "
            "descriptor if clients needed a key"
        )
    with _folder_of_clients(controller, settings, directory):
        before = read_clients(directory)
        for there in before:
            if there == client:
                return ClientChange(service.onion, changed=False, clients=tuple(before))
            if there.name == client.name:
                raise ConfigurationError(f"{client.name} has another key: revoke {client.name} first")
            if there.public == client.public:
                raise ConfigurationError(f"this key is that of {there.name}: each client needs a key of its own")
        changes = {
            _file(directory, client.name): format_auth(client.public).encode(),
            _file(directory, CLOSED): None,
        }
        with DescriptorEvents(controller) as events:
            with changed(changes, None):
                if any(there.public for there in before):
                    reload_services(controller)
                else:
                    renew_service(controller, service)
            return _done(service, directory, events, wait)


def revoke(  # noqa: PLR0913 -- what is to be done, and to what
    controller: "Controller", settings: TorSection, directory: Path, name: str, wait: float, *, opens: bool
) -> ClientChange:
    """Keep a client out from now on.

    tor renews the service: a client has the old descriptor for hours, and with it the way to the old introduction
    points. All connections to the service end with that.

    Args:
        directory: HiddenServiceDir of a service of torrc.
        name: of the client.
        wait: seconds to wait for the new descriptor to be published.
        opens: with its last client gone, let the service be open to all; else it is closed to all.

    Raises:
        ConfigurationError: there is no such service or client, or the folder cannot be written; nothing was changed.
        ControlError: tor does not answer or did not take it; nothing was changed.
        LockedError: another process is changing the clients.
    """
    service = service_in(controller, directory)
    with _folder_of_clients(controller, settings, directory):
        before = read_clients(directory)
        if name not in {client.name for client in before}:
            raise ConfigurationError(f"{directory / FOLDER} has no client {name!r}: onionmx onion list shows them")
        changes: dict[Path, bytes | None] = {_file(directory, name): None}
        usable = {client.name for client in before if client.public}
        if usable == {name} and not opens:
            # Of a pair whose private half ends here; without any client, tor lets everybody in.
            changes[_file(directory, CLOSED)] = format_auth(new_client_key("").public).encode()
        with DescriptorEvents(controller) as events:
            with changed(changes, None):
                renew_service(controller, service)
            return _done(service, directory, events, wait)


def _done(service: OnionService, directory: Path, events: DescriptorEvents, wait: float) -> ClientChange:
    state = None
    try:
        if service.onion and wait:
            state = events.wait_for_uploads(service.onion, wait)
    except (ControllerError, KeyboardInterrupt):
        # It is done all the same, and a private key written for it must stay.
        state = PublishedDescriptor(Publication.UNKNOWN, "the wait for it was broken off")
    return ClientChange(service.onion, changed=True, clients=tuple(read_clients(directory)), published=state)


@contextmanager
def _folder_of_clients(controller: "Controller", settings: TorSection, directory: Path) -> Iterator[None]:
    """Be the only one who changes it, with the rights of tor's user."""
    folder = directory / FOLDER
    with acting_as(tor_user(controller, settings.user)):
        with unwritable(folder):
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with alone(descriptor, f"another process is changing {folder}; nothing was changed"):
            yield


def _file(directory: Path, name: str) -> Path:
    return directory / FOLDER / f"{name}{AUTH}"
