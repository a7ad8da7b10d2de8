"""Making an onion service for mail: in torrc, or over the control port with a key that is kept."""

import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.config import TorSection
from onionmx.errors import ConfigurationError, ControlError, InputError, UsageError
from onionmx.files import read_regular, read_secret, replacing
from onionmx.onion import SUFFIX
from onionmx.tor.service.balance import INSTANCE, OB_CONFIG, format_ob_config, parse_ob_config
from onionmx.tor.service.client_keys import AUTH, FOLDER
from onionmx.tor.service.clients import read_clients
from onionmx.tor.service.descriptor import DescriptorEvents, PublishedDescriptor
from onionmx.tor.service.folder import check_place, is_same_folder, prepared
from onionmx.tor.service.identity import SECRET_KEY, format_secret_key, parse_secret_key
from onionmx.tor.service.running import HOSTNAME, RECORD, OnionService, read_hostname, read_record, services
from onionmx.tor.service.tor_files import acting_as, changed, owner_of
from onionmx.tor.service.torrc import (
    DIRECTORY,
    PORT,
    Forward,
    Option,
    ServiceBlock,
    appended,
    block_options,
    format_block,
    parse_torrc,
    service_blocks,
)
from onionmx.tor.service.torrc_file import TorrcFile

if TYPE_CHECKING:
    from stem.control import Controller

EXPORT_CIRCUIT = "HiddenServiceExportCircuitID"
POW = "HiddenServicePoWDefensesEnabled"
MAX_STREAMS = "HiddenServiceMaxStreams"
LONG_LIVED_PORTS = "LongLivedPorts"
_MAX_OB_CONFIG = 65536  # bytes; a line for each front
_CHOSEN = {option.lower() for option in (EXPORT_CIRCUIT, POW, MAX_STREAMS, INSTANCE)}


@dataclass(frozen=True, slots=True)
class WantedService:
    """The service to be made.

    Attributes:
        directory: HiddenServiceDir, or the folder where the key is kept; absolute.
        forward: where its port leads.
        haproxy: whether tor names the circuit of each connection in a PROXY line.
        proof_of_work: whether clients can be asked for one when the service is flooded; `None` for a new service that
            has it if tor knows it, while one that is there may have it or not.
        max_streams: connections at the same time in one circuit; 0 for no limit.
        long_lived: whether tor builds circuits for its port of relays that stay up.
        front: the onion of the Onionbalance front of which it is an instance; `None` for a service of its own.
    """

    directory: Path
    forward: Forward
    haproxy: bool = False
    proof_of_work: bool | None = None
    max_streams: int = 0
    long_lived: bool = False
    front: str | None = None

    def block(self) -> ServiceBlock:
        """As torrc has it.

        Raises:
            UsageError: the name of the folder cannot be written in a torrc.
        """
        if not self.directory.is_absolute() or not _is_plain(str(self.directory)):
            raise UsageError(
                f"{str(self.directory)!r} is not a folder for an onion service: expected an absolute path in ASCII"
            )
        options = {}
        if self.haproxy:
            options[EXPORT_CIRCUIT] = "haproxy"
        if self.proof_of_work is not False:
            options[POW] = "1"
        if self.max_streams:
            options[MAX_STREAMS] = str(self.max_streams)
        if self.front is not None:
            options[INSTANCE] = "1"
        return ServiceBlock(str(self.directory), (self.forward,), options)

    @property
    def ob_config(self) -> dict[Path, bytes | None]:
        """The file that tor needs in the folder of an instance; none for others."""
        if self.front is None:
            return {}
        return {self.directory / OB_CONFIG: format_ob_config(self.front).encode()}


@dataclass(frozen=True, slots=True)
class Created:
    """What became of it.

    Attributes:
        changed: `False` if all was there before.
        onion: the address; `None` where it cannot be read, or at a dry run.
        lines: torrc lines that were added, or that would make the service that was made over the control port.
        problem: why there is no address.
        published: what the directories said; `None` where nobody waited for them.
    """

    changed: bool
    onion: str | None
    lines: str
    problem: str = ""
    published: PublishedDescriptor | None = None


def is_trusted_address(host: str) -> bool:
    """Whether MTAs take clients from this address for local users, who may send mail anywhere.

    0.0.0.0 and :: lead to the same addresses.
    """
    address = ip_address(host)
    mapped = getattr(address, "ipv4_mapped", None) or address
    return str(mapped) in ("127.0.0.1", "::1") or bool(mapped.is_unspecified)


def create_in_torrc(
    controller: "Controller", settings: TorSection, wanted: WantedService, wait: float, *, dry_run: bool
) -> Created:
    """Add a service to torrc and have tor take it.

    tor checks the whole new text first (`tor --verify-config`). A service that is there as wanted stays as it is.

    Args:
        wait: seconds to wait for its descriptor to be published.
        dry_run: check, but change nothing.

    Raises:
        ConfigurationError: torrc cannot be read or written, is not this tor's, tor would not accept it, or it has
            another service in this folder; nothing was changed.
        ControlError: tor did not take it; torrc is as it was.
        LockedError: another process is changing it.
    """
    torrc = TorrcFile(settings, controller)
    with torrc.locked():
        return _create_in_torrc(controller, torrc, wanted, wait, dry_run=dry_run)


def _create_in_torrc(
    controller: "Controller", torrc: TorrcFile, wanted: WantedService, wait: float, *, dry_run: bool
) -> Created:
    wanted = _known(controller, wanted)
    before = services(controller)
    there = next((service for service in before if is_same_folder(service.directory, wanted.directory)), None)
    if there is not None and not _as_wanted(there, wanted):
        raise _other_service(there, wanted, f"edit {torrc.path} and reload tor")
    text = torrc.read()
    if there is None and any(is_same_folder(block.directory, wanted.directory) for block in _blocks(text)):
        raise ConfigurationError(f"{torrc.path} has {DIRECTORY} {wanted.directory}, but tor does not: reload tor")
    if there is None:
        check_place(controller, wanted.directory, (service.directory for service in before))
    more = _long_lived_ports(controller, wanted)
    if there is not None and not more:
        return Created(changed=False, onion=there.onion, lines="", problem=there.problem)
    block = wanted.block() if there is None else ServiceBlock("", ())
    lines = format_block(block, more)
    new = appended(text, lines)
    # An instance is checked as another service: tor would want its ob_config, which is not there yet.
    torrc.verify(appended(text, format_block(replace(wanted, front=None).block(), more)) if block.directory else new)
    if dry_run:
        return Created(changed=True, onion=there.onion if there else None, lines=lines)
    with DescriptorEvents(controller) as events:
        user = torrc.user()
        with (
            prepared(wanted.directory, user),
            changed(wanted.ob_config if there is None else {}, user),
            torrc.replaced(text, new, [*more, *block_options(block)]),
        ):
            after = services(controller)
            if any(service not in after for service in before):
                raise ControlError(f"another service would change; {torrc.path} stays as it was")
            if not any(is_same_folder(service.directory, wanted.directory) for service in after):
                raise ControlError(f"tor has no service in {wanted.directory}; {torrc.path} stays as it was")
        onion, problem = read_hostname(wanted.directory)
        state = events.wait_for_uploads(onion, wait) if onion and wait and there is None else None
    return Created(changed=True, onion=onion, lines=lines, problem=problem, published=state)


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
        return _create_over_control(controller, _known(controller, wanted), wait, dry_run=dry_run)


def _create_over_control(controller: "Controller", wanted: WantedService, wait: float, *, dry_run: bool) -> Created:
    lines = format_block(wanted.block())
    running = services(controller, wanted.directory)
    if any(is_same_folder(service.directory, wanted.directory) for service in running):
        raise ConfigurationError(f"{wanted.directory} is the {DIRECTORY} of a service in torrc: use another folder")
    recorded = read_record(wanted.directory)
    if recorded is not None and recorded in running:
        if not _as_wanted(recorded, wanted):
            raise _other_service(recorded, wanted, "restart tor to be rid of it")
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


def lacks_pow(controller: "Controller") -> bool:
    """Whether tor is older than proofs of work for onion services, which came with 0.4.8.

    Raises:
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    return POW not in controller.get_info("config/names").split()


def _known(controller: "Controller", wanted: WantedService) -> WantedService:
    """The same without what nobody asked for and an old tor does not know."""
    if wanted.proof_of_work is None and lacks_pow(controller):
        return replace(wanted, proof_of_work=False)
    return wanted


def _blocks(text: str) -> list[ServiceBlock]:
    return service_blocks(parse_torrc(text))


def _is_plain(path: str) -> bool:
    return path.isascii() and path.isprintable()  # stem takes no other text as the bytes that it is


def _as_wanted(service: OnionService, wanted: WantedService) -> bool:
    """Whether it leads where it should, with the options that can be chosen here; others are not looked at."""
    chosen = _CHOSEN - {POW.lower()} if wanted.proof_of_work is None else _CHOSEN
    has, should_have = (
        {keyword.lower(): value for keyword, value in options.items() if keyword.lower() in chosen and value != "0"}
        for options in (service.options, wanted.block().options)
    )
    return wanted.forward in service.ports and has == should_have and _has_front(wanted)


def _has_front(wanted: WantedService) -> bool:
    if wanted.front is None:
        return True
    try:
        text = read_regular(wanted.directory / OB_CONFIG, _MAX_OB_CONFIG).decode("utf-8", "replace")
        return parse_ob_config(text) == (wanted.front,)
    except (OSError, InputError):
        return False


def _other_service(there: OnionService, wanted: WantedService, how: str) -> ConfigurationError:
    has = "; ".join(
        [*(f"{PORT} {forward}" for forward in there.ports), *(f"{key} {value}" for key, value in there.options.items())]
    )
    return ConfigurationError(
        f"there is another service in {wanted.directory} ({has}); it stays as it is: {how}, or choose another "
        "--directory"
    )


def _long_lived_ports(controller: "Controller", wanted: WantedService) -> list[Option]:
    if not wanted.long_lived:
        return []
    ports = [port.strip() for port in (controller.get_conf(LONG_LIVED_PORTS, "") or "").split(",") if port.strip()]
    port = str(wanted.forward.port)
    # The line takes the place of tor's own list, which therefore has to be in it.
    return [] if port in ports else [Option(LONG_LIVED_PORTS, ",".join([*ports, port]))]


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
