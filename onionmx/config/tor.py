"""Tor, the onion service on it, its record in DNS, and the checks of it all."""

from typing import Annotated

from msgspec import Meta

from onionmx.config.address import check_listen, parse_nameserver, parse_server, parse_socket
from onionmx.config.section import Section
from onionmx.credential import check_secret
from onionmx.defaults import AUTO, CONTROL, DNSPORT, TOR_USER
from onionmx.domain import normalize


class TorSection(Section, frozen=True):
    """Tor's ports: SOCKS for connections, DNS for virtual addresses, control for the onion service."""

    socks: Annotated[
        str,
        Meta(
            description="Tor's SocksPort as IP:PORT, NAME:PORT or unix:/path; give it the flags ExtendedErrors and "
            "OnionTrafficOnly. auto is unix:/run/tor/onionmx.sock where that socket is, else 127.0.0.1:9050. NAME is "
            "found by the system when the relay starts, and again when it cannot be reached; no public address of it "
            "is used."
        ),
    ] = AUTO
    connect_timeout: Annotated[
        float,
        Meta(
            gt=0, le=600, description="Seconds for a connection to an onion; above tor's own 120, so that tor says why."
        ),
    ] = 150.0
    dnsport: Annotated[str, Meta(description="Tor's DNSPort as IP:PORT, with AutomapHostsOnResolve 1 beside it.")] = (
        DNSPORT
    )
    control: Annotated[
        str,
        Meta(
            description="Tor's control port: unix:/path of its ControlSocket, or IP:PORT, where any local user may "
            "listen while tor does not."
        ),
    ] = CONTROL
    user: Annotated[
        str,
        Meta(
            min_length=1,
            description="The user that tor runs as, by name or number: besides root and your own, the only one whose "
            "SOCKS, DNS and control ports on this machine are believed.",
        ),
    ] = TOR_USER
    control_password_file: Annotated[
        str,
        Meta(
            description="File with the password for the control port, which nobody but its owner may read, or "
            "`credential:NAME`; empty for tor's cookie."
        ),
    ] = ""
    torrc: Annotated[str, Meta(min_length=1, description="Tor's configuration file.")] = "/etc/tor/torrc"

    def __post_init__(self) -> None:
        """Refuse what is not the address of a port, or not the name of a credential."""
        if self.socks != AUTO:
            parse_server(self.socks)
        parse_socket(self.dnsport)
        check_listen(self.control)
        check_secret(self.control_password_file, "tor.control_password_file")


class OnionSection(Section, frozen=True):
    """The onion service through which this host receives mail."""

    directory: Annotated[
        str, Meta(min_length=1, description="HiddenServiceDir of a new service: its keys and its host name.")
    ] = "/var/lib/tor/onion-mx"
    forward: Annotated[
        str,
        Meta(description="Where tor hands connections over to the MTA, as IP:PORT; not 127.0.0.1, which MTAs trust."),
    ] = "127.0.0.2:25"

    def __post_init__(self) -> None:
        """Refuse what is not an address."""
        parse_socket(self.forward)


class PublishSection(Section, frozen=True):
    """The onion-MX records of this host's local domains."""

    ttl: Annotated[int, Meta(ge=0, le=2147483647, description="Seconds that others may keep the record.")] = 3600
    server: Annotated[
        str,
        Meta(description="Primary name server that takes updates (RFC 2136), as IP or IP:PORT; empty to print only."),
    ] = ""
    tsig_file: Annotated[
        str,
        Meta(
            description="File with the TSIG key, in BIND's or Knot's form, which only its owner may read, or "
            "`credential:NAME`."
        ),
    ] = ""

    def __post_init__(self) -> None:
        """Refuse what is not the address of a name server, or not the name of a credential."""
        if self.server:
            parse_nameserver(self.server)
        check_secret(self.tsig_file, "publish.tsig_file")


class DoctorSection(Section, frozen=True):
    """What `onionmx doctor` takes for healthy."""

    map_max_age: Annotated[
        float, Meta(gt=0, description="Seconds after which a map that no sync has looked at is too old.")
    ] = 172800.0
    foreign_domain: Annotated[
        str,
        Meta(
            min_length=1,
            description="A domain that is none of yours, for trying whether the MTA relays; no mail is sent.",
        ),
    ] = "example.net"
    bogus_name: Annotated[
        str,
        Meta(
            description="A name with an address whose signatures are wrong: a resolver that validates answers SERVFAIL "
            "for it. Empty not to ask."
        ),
    ] = "dnssec-failed.org"
    timeout: Annotated[
        float, Meta(gt=0, le=600, description="Seconds for one check; all of them run side by side.")
    ] = 60.0

    def __post_init__(self) -> None:
        """Refuse what is not a domain."""
        normalize(self.foreign_domain)
        if self.bogus_name:
            normalize(self.bogus_name)
