"""The onion service that is to be made: what it should be, and whether one that is there is it."""

from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.errors import ConfigurationError, InputError, UsageError
from onionmx.files import read_regular
from onionmx.tor.service.balance import INSTANCE, OB_CONFIG, format_ob_config, parse_ob_config
from onionmx.tor.service.descriptor import PublishedDescriptor
from onionmx.tor.service.running import OnionService
from onionmx.tor.service.torrc import PORT, Forward, ServiceBlock

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


def lacks_pow(controller: "Controller") -> bool:
    """Whether tor is older than proofs of work for onion services, which came with 0.4.8.

    Raises:
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    return POW not in controller.get_info("config/names").split()


def known_to(controller: "Controller", wanted: WantedService) -> WantedService:
    """The same without what nobody asked for and an old tor does not know."""
    if wanted.proof_of_work is None and lacks_pow(controller):
        return replace(wanted, proof_of_work=False)
    return wanted


def _is_plain(path: str) -> bool:
    return path.isascii() and path.isprintable()  # stem takes no other text as the bytes that it is


def is_as_wanted(service: OnionService, wanted: WantedService) -> bool:
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


def other_service(there: OnionService, wanted: WantedService, how: str) -> ConfigurationError:
    """Why nothing is made where there is another service.

    Args:
        how: to get rid of it.
    """
    has = "; ".join(
        [*(f"{PORT} {forward}" for forward in there.ports), *(f"{key} {value}" for key, value in there.options.items())]
    )
    return ConfigurationError(
        f"there is another service in {wanted.directory} ({has}); it stays as it is: {how}, or choose another "
        "--directory"
    )
