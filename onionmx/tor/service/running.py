"""The onion services of this tor: what they carry, where they lead, and how they were made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stem import OperationFailed

from onionmx.errors import OnionError
from onionmx.files import read_regular
from onionmx.onion import DEFAULT_PORT, SUFFIX, parse_onion
from onionmx.tor.service.descriptor import Publication, PublishedDescriptor, published
from onionmx.tor.service.torrc import Forward, Option, parse_torrc, service_blocks

if TYPE_CHECKING:
    from stem.control import Controller

__all__ = ["Forward", "OnionService", "Publication", "PublishedDescriptor", "mail_services", "published", "services"]

HOSTNAME = "hostname"
"""File in a HiddenServiceDir with the address (tor(1), FILES)."""
RECORD = "over-control"
"""File beside a key with the torrc lines of the service that was made with it over the control port."""
_MAX_SIZE = 65536  # bytes of either


@dataclass(frozen=True, slots=True)
class OnionService:
    """An onion service of this tor.

    Attributes:
        onion: its host name; `None` where that cannot be read, and `problem` says why.
        ports: where its ports lead.
        directory: its HiddenServiceDir; `None` for one made over the control port.
        options: its other options, by keyword.
        problem: what could not be found out, in words; empty where all was.
        ports_known: `False` for a service that another program made over the control port: of those tor tells the
            address alone, and `ports` is empty.
    """

    onion: str | None
    ports: tuple[Forward, ...]
    directory: str | None
    options: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    ports_known: bool = True

    def carries(self, port: int) -> bool:
        """Whether a virtual port is known to lead somewhere."""
        return any(forward.port == port for forward in self.ports)


def services(controller: "Controller", kept: Path | None = None) -> list[OnionService]:
    """The onion services that tor runs, those of torrc first.

    Services of other control connections that are not detached do not show: tor tells nobody of them.

    Args:
        kept: folder with the key of a service that onionmx made over the control port (`onion.directory`), where its
            ports are recorded.

    Raises:
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    return _of_torrc(controller) + _over_control(controller, kept)


def mail_services(controller: "Controller", port: int = DEFAULT_PORT, kept: Path | None = None) -> list[OnionService]:
    """The onion services that carry a virtual port, 25 unless another is named.

    Args:
        port: virtual port.
        kept: as for `services`.

    Raises:
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    return [service for service in services(controller, kept) if service.carries(port)]


def service_options(controller: "Controller", encoding: str = "utf-8") -> list[Option]:
    """The options of the onion services of torrc that tor runs, in their order.

    Args:
        encoding: of folders; tor knows bytes.

    Raises:
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    # stem's get_conf_map loses the order, which says what belongs to which service.
    answer = controller.msg("GETCONF HiddenServiceOptions")
    if not answer.is_ok():
        # "None" would be believed: what sets them again would take all services away.
        raise OperationFailed(message=f"GETCONF: {answer}")
    lines = [line.decode(encoding, "replace") for _, _, line in answer.content(get_bytes=True)]
    return [Option(*line.split("=", 1)) for line in lines if "=" in line]


def _of_torrc(controller: "Controller") -> list[OnionService]:
    found = []
    for block in service_blocks(service_options(controller)):
        onion, problem = read_hostname(Path(block.directory))
        found.append(OnionService(onion, block.forwards, block.directory, block.options, problem))
    return found


def _over_control(controller: "Controller", kept: Path | None) -> list[OnionService]:
    # tor says this once for this connection's own, once for those that outlive theirs.
    labels = [*_list(controller, "onions/current"), *_list(controller, "onions/detached")]
    recorded = None if kept is None else read_record(kept)
    found = []
    for label in dict.fromkeys(labels):
        onion = label + SUFFIX
        if recorded is not None and recorded.onion == onion:
            found.append(recorded)
        else:
            problem = "its ports are not known: another program made it over the control port, and tor does not tell"
            found.append(OnionService(onion, (), None, problem=problem, ports_known=False))
    return found


def _list(controller: "Controller", key: str) -> list[str]:
    return [label for label in controller.get_info(key).split("\n") if label]


def read_hostname(directory: Path) -> tuple[str | None, str]:
    """Read the address of a service from its HiddenServiceDir: the address, or `None` and why."""
    path = directory / HOSTNAME
    try:
        return parse_onion(read_regular(path, _MAX_SIZE).decode("ascii", "replace").strip()), ""
    except OSError as error:
        return None, f"its address is not known: {path} cannot be read: {error.strerror}"
    except OnionError as error:
        return None, f"its address is not known: {path}: {error}"


def read_record(directory: Path) -> OnionService | None:
    """Read what is recorded of a service that onionmx made over the control port; `None` if there is none."""
    try:
        text = read_regular(directory / RECORD, _MAX_SIZE).decode("utf-8", "replace")
    except OSError:
        return None
    onion, problem = read_hostname(directory)
    for block in service_blocks(parse_torrc(text)):
        return OnionService(onion, block.forwards, None, block.options, problem)
    return None
