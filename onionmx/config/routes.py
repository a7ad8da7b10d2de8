"""Where routes come from: the map, DNS, sync, and this host's own domains."""

from typing import Annotated

import msgspec
from msgspec import Meta

from onionmx.config.address import parse_nameserver
from onionmx.config.section import Section, state_directory
from onionmx.defaults import CONFIGURATION_DIRECTORY, MAP_NAME, TRANSPORT_NAME


class OwnSection(Section, frozen=True):
    """The mail domains of this host: never routed over Tor, and the ones to publish and to check."""

    domains: Annotated[tuple[str, ...], Meta(description="Domains that this host receives mail for.")] = ()
    file: Annotated[str, Meta(description="File with more of them, one a line; empty for none.")] = ""


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
