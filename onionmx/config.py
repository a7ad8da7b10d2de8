"""The configuration: one typed schema, each field with its meaning, unit and default.

Read from `/etc/onionmx/onionmx.toml`, from the file that `--config` or `ONIONMX_CONFIG` names, or, with no file at
all, from the defaults. `onionmx config` prints it.
"""

import os
import re
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

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


def parse_socket(text: str) -> tuple[str, int]:
    """Read `IP:PORT` or `[IPv6]:PORT`.

    Raises:
        ValueError: not of that form.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    host, port = (match[1] or match[2], match[3] or "") if match else (text, "")
    try:
        return str(ip_address(host)), parse_port(port)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an address: expected IP:PORT or [IPv6]:PORT") from error


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
    transport_result: Annotated[
        str,
        Meta(
            description="What that second map says of each domain, such as onion:inet:127.0.0.1:10026 for the relay; "
            "empty for the onions themselves, TRANSPORT:[onion]:port."
        ),
    ] = ""
    transport: Annotated[
        str,
        Meta(pattern="^[A-Za-z0-9_-]+$", description="Name of the Postfix transport in that second map."),
    ] = TRANSPORT_NAME


class DnsSection(Section, frozen=True):
    """Questions for SRV records."""

    nameservers: Annotated[
        tuple[str, ...],
        Meta(
            description="Resolvers as IP, IP:PORT or [IPv6]:PORT; empty for those of /etc/resolv.conf. "
            "Only one on loopback is believed when it says that DNSSEC has validated an answer."
        ),
    ] = ()
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
        tuple[str, ...],
        Meta(description="Files with one domain a line, asked in DNS when no list is named on the command line."),
    ] = ()
    pins: Annotated[
        str,
        Meta(
            description="File of pins, `domain onion[:port]...` or `domain none`, which override DNS; "
            "the default may be missing."
        ),
    ] = f"{CONFIGURATION_DIRECTORY}/pins"


class TorSection(Section, frozen=True):
    """Tor's SOCKS port, through which the relay connects."""

    socks: Annotated[
        str, Meta(description="Tor's SocksPort as IP:PORT; give it the flags ExtendedErrors and OnionTrafficOnly.")
    ] = "127.0.0.1:9050"
    connect_timeout: Annotated[
        float,
        Meta(
            gt=0, le=600, description="Seconds for a connection to an onion; above tor's own 120, so that tor says why."
        ),
    ] = 150.0
    connections_at_once: Annotated[
        int, Meta(ge=1, le=1000, description="Connections that are being opened at the same time; each takes a thread.")
    ] = 64

    def __post_init__(self) -> None:
        """Refuse what is not the address of a SOCKS port."""
        parse_socket(self.socks)


class RelaySection(Section, frozen=True):
    """The relay for MTAs that cannot speak to Tor."""

    smtp_listen: Annotated[
        tuple[str, ...], Meta(description="Where SMTP is spoken: IP:PORT, or unix:/path; only loopback unless asked.")
    ] = ("127.0.0.1:10025",)
    lmtp_listen: Annotated[
        tuple[str, ...], Meta(description="Where LMTP is spoken, which tells the MTA the result for each recipient.")
    ] = ("127.0.0.1:10026",)
    unix_mode: Annotated[
        str, Meta(pattern="^0?[0-7]{3}$", description="Mode of unix sockets, in octal; who may connect may send.")
    ] = "0660"
    clients: Annotated[
        tuple[str, ...],
        Meta(description="Networks whose hosts may connect over TCP; never the world: any recipient is taken."),
    ] = ("127.0.0.0/8", "::1/128")
    max_connections: Annotated[int, Meta(ge=1, description="Sessions with MTAs at the same time.")] = 1000
    hostname: Annotated[
        str, Meta(description="Name for EHLO and Received, fully qualified; empty for the name of this machine.")
    ] = ""
    live: Annotated[bool, Meta(description="Ask DNS for domains that neither pins nor map have.")] = False
    unrouted: Annotated[
        Literal["defer", "reject"], Meta(description="What to say of a domain without a route: defer 451, reject 550.")
    ] = "defer"
    bare_newline: Annotated[
        Literal["reject", "normalize"],
        Meta(description="A CR or LF that is not part of CRLF: reject the message, or make CRLF of each."),
    ] = "reject"
    tls: Annotated[
        Literal["never", "opportunistic", "require"],
        Meta(description="STARTTLS with the onion MX. The onion encrypts and authenticates already."),
    ] = "never"
    message_size_limit: Annotated[int, Meta(ge=1024, description="Bytes of a message, announced as SIZE.")] = 104857600
    keep_limit: Annotated[
        int,
        Meta(
            ge=0,
            description="Bytes up to which a message is kept until the final reply, for another try elsewhere.",
        ),
    ] = 1048576
    deadline: Annotated[
        float,
        Meta(gt=0, description="Seconds for the delivery of a message, all targets together; below Postfix's 600."),
    ] = 540.0
    sessions_per_onion: Annotated[
        int, Meta(ge=1, le=1000, description="Sessions that are open to one onion MX at the same time.")
    ] = 10
    messages_per_session: Annotated[
        int, Meta(ge=1, description="Messages after which a session is closed; Exim takes 1000 by default.")
    ] = 100
    transactions_in_flight: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="Messages on the way at once on a session, when no further one may be opened.",
        ),
    ] = 10
    idle_timeout: Annotated[
        float, Meta(gt=0, description="Seconds that an unused session stays open for the next message.")
    ] = 60.0
    max_received: Annotated[
        int, Meta(ge=1, description="Received headers from which on a message is taken for one that goes in a circle.")
    ] = 50
    workers: Annotated[int, Meta(ge=1, le=64, description="Processes that share the sockets.")] = 1
    metrics_listen: Annotated[
        str,
        Meta(description="IP:PORT for Prometheus, each further worker one port higher; empty for none."),
    ] = ""
    log_addresses: Annotated[bool, Meta(description="Write senders and recipients to the log.")] = False
    grace: Annotated[float, Meta(ge=0, description="Seconds for what is in flight when the relay is stopped.")] = 60.0

    def __post_init__(self) -> None:
        """Refuse what is not an address or a network."""
        for text in (*self.smtp_listen, *self.lmtp_listen, *filter(None, (self.metrics_listen,))):
            if not text.startswith("unix:/"):
                parse_socket(text)
        for text in self.clients:
            ip_network(text)


class Configuration(Section, frozen=True):
    """The whole configuration."""

    map: MapSection = msgspec.field(default_factory=MapSection)
    dns: DnsSection = DnsSection()
    sync: SyncSection = SyncSection()
    tor: TorSection = TorSection()
    relay: RelaySection = RelaySection()

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
