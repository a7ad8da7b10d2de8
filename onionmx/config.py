"""The configuration: one typed schema, each field with its meaning, unit and default.

Read from `/etc/onionmx/onionmx.toml`, from the file that `--config` or `ONIONMX_CONFIG` names, or, with no file at
all, from the defaults. `onionmx config` prints it.
"""

import os
import re
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

import msgspec
from msgspec import Meta

from onionmx.defaults import CONFIGURATION_DIRECTORY, MAP_NAME, STATE_DIRECTORY, TRANSPORT_NAME
from onionmx.errors import ConfigurationError
from onionmx.onion import parse_port

DEFAULT_FILE = Path(CONFIGURATION_DIRECTORY, "onionmx.toml")
ENVIRONMENT_VARIABLE = "ONIONMX_CONFIG"
DEFAULT_DNS_PORT = "53"
_HOST_AND_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; keys that it does not have are refused."""


def state_directory() -> Path:
    """`/var/lib/onionmx` for root and for a service that owns it, else a folder of the user's own (XDG)."""
    system = Path(STATE_DIRECTORY)
    if os.geteuid() == 0 or os.access(system, os.W_OK):
        return system
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "onionmx"


def parse_nameserver(text: str) -> tuple[str, int]:
    """Read `IP`, `IP:PORT` or `[IPv6]:PORT`; the port is 53 where none is written.

    Raises:
        ValueError: not of that form.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    host, port = (match[1] or match[2], match[3]) if match else (text, None)
    try:
        return str(ip_address(host)), parse_port(port or DEFAULT_DNS_PORT)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a name server: expected IP, IP:PORT or [IPv6]:PORT") from error


class MapSection(Section, frozen=True):
    """The map from domains to onions."""

    path: Annotated[str, Meta(min_length=1, description="The CDB that sync writes and the MTA reads.")] = msgspec.field(
        default_factory=lambda: str(state_directory() / MAP_NAME)
    )
    transport_path: Annotated[
        str,
        Meta(
            description="A second CDB with values for Postfix's transport_maps, written at the same time; "
            "empty for none."
        ),
    ] = ""
    transport: Annotated[
        str,
        Meta(pattern="^[A-Za-z0-9_-]+$", description="Name of the Postfix transport in that second map."),
    ] = TRANSPORT_NAME


class DnsSection(Section, frozen=True):
    """Questions for SRV records."""

    nameservers: Annotated[
        list[str],
        Meta(
            description="Resolvers as IP, IP:PORT or [IPv6]:PORT; empty for those of /etc/resolv.conf. "
            "Only one on loopback is believed when it says that DNSSEC has validated an answer."
        ),
    ] = []
    timeout: Annotated[
        float, Meta(gt=0, le=300, description="Seconds for one question, with its resends to all resolvers.")
    ] = 10.0
    retries: Annotated[
        int, Meta(ge=0, le=10, description="How often sync asks again when a question could not be answered.")
    ] = 2
    retry_delay: Annotated[
        float,
        Meta(
            ge=0,
            le=300,
            description="Seconds before the first of these, twice as long before each further one.",
        ),
    ] = 1.0
    concurrency: Annotated[
        int, Meta(ge=1, le=1000, description="Questions of sync that are under way at the same time.")
    ] = 50

    def __post_init__(self) -> None:
        """Refuse what is not the address of a name server."""
        for text in self.nameservers:
            parse_nameserver(text)


class SyncSection(Section, frozen=True):
    """What sync looks at."""

    domains: Annotated[
        list[str],
        Meta(description="Files with one domain a line, asked in DNS when no list is named on the command line."),
    ] = []
    pins: Annotated[
        str,
        Meta(
            description="File of pins, `domain onion[:port]...` or `domain none`, which override DNS; "
            "the default may be missing."
        ),
    ] = f"{CONFIGURATION_DIRECTORY}/pins"


class Configuration(Section, frozen=True):
    """The whole configuration."""

    map: MapSection = msgspec.field(default_factory=MapSection)
    dns: DnsSection = DnsSection()
    sync: SyncSection = SyncSection()

    @classmethod
    def load(cls, file: Path | None = None) -> Self:
        """Read the configuration.

        Args:
            file: must exist; `None` for `ONIONMX_CONFIG`, the default file, or the defaults.

        Raises:
            ConfigurationError: unreadable, not TOML, an unknown key, a wrong type or an impossible value.
        """
        if file is None and (named := os.environ.get(ENVIRONMENT_VARIABLE)):
            file = Path(named)
        try:
            content = (file or DEFAULT_FILE).read_bytes()
        except FileNotFoundError as error:
            if file is None:
                return cls()
            raise ConfigurationError(f"configuration {file} does not exist") from error
        except OSError as error:
            raise ConfigurationError(
                f"configuration {file or DEFAULT_FILE} cannot be read: {error.strerror}"
            ) from error
        return cls.parse(content, str(file or DEFAULT_FILE))

    @classmethod
    def parse(cls, content: bytes, name: str) -> Self:
        """Read the configuration from TOML.

        Args:
            content: the file.
            name: its name, for messages.

        Raises:
            ConfigurationError: not TOML, an unknown key, a wrong type or an impossible value.
        """
        try:
            return msgspec.convert(tomllib.loads(content.decode("utf-8")), cls)
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"configuration {name}: byte {error.start} is not UTF-8 text") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"configuration {name}: not TOML: {error}") from error
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$.")
            key = f"{where.rstrip('`')}: " if where else ""
            raise ConfigurationError(f"configuration {name}: {key}{what}") from error

    def to_toml(self) -> str:
        """The effective configuration as a commented file."""
        tables = []
        for field in msgspec.structs.fields(self):
            section: Section = getattr(self, field.name)
            tables.append(f"# {section.__doc__}\n[{field.name}]\n" + _format_section(section))
        return "\n".join(tables)


def _format_section(section: Section) -> str:
    described = msgspec.json.schema(type(section))["$defs"][type(section).__name__]["properties"]
    return "".join(
        # JSON's numbers, strings, booleans and lists are TOML's too.
        f"# {described[field.name]['description']}\n"
        f"{field.name} = {msgspec.json.encode(getattr(section, field.name)).decode()}\n"
        for field in msgspec.structs.fields(section)
    )
