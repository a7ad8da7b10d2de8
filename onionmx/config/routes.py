"""Where routes come from: the map, DNS, and this host's local domains."""

from typing import Annotated

import msgspec
from msgspec import Meta

from onionmx.config.address import DEFAULT_DNS_PORT
from onionmx.config.export import Export, check_places
from onionmx.config.resolver import Resolver, parse_resolver
from onionmx.config.section import Section, state_directory
from onionmx.defaults import MAP_NAME, TRANSPORT_NAME

LOOPBACK = "loopback"
"""In `dns.trusted`: every resolver on this host that `dns.nameservers` names, or /etc/resolv.conf with trust-ad."""

RESOLVER_USERS = ("unbound", "bind", "knot-resolver", "pdns")
"""As Debian's packages call them."""
SYSTEM_PORT = int(DEFAULT_DNS_PORT)
"""Of the resolvers of /etc/resolv.conf, which cannot name another."""


class LocalSection(Section, frozen=True):
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
    exports: Annotated[
        tuple[Export, ...],
        Meta(
            description="Plain files made of the map for other MTAs, each a table: path, in the folder of the map; "
            "template of a line, {domain} by default, with the fields domain, onion, port and targets; labels, ascii "
            "(default), unicode or both; under_onion, how the MTA names all that is under .onion, for a line of its "
            "own. See docs/sync.md."
        ),
    ] = ()

    def __post_init__(self) -> None:
        """Refuse exports that would overwrite something else."""
        check_places(self.exports, self.path)


class DnsSection(Section, frozen=True):
    """Questions for SRV records."""

    nameservers: Annotated[
        tuple[str, ...],
        Meta(
            description="Resolvers: IP, IP:PORT or [IPv6]:PORT; tls://IP[:PORT]#NAME for DNS over TLS with that name "
            "in the certificate; through Tor, IP may also be an onion. Else IP may be the name of a host, which the "
            "system finds at the start and at a reload; without TLS not at a public address. Empty for those of "
            "/etc/resolv.conf."
        ),
    ] = ()
    trusted: Annotated[
        tuple[str, ...],
        Meta(
            description="Resolvers that are believed when they say that DNSSEC has validated an answer. loopback: "
            "those on this host which dns.nameservers names, and those of /etc/resolv.conf where that says `options "
            "trust-ad`, as other programs take it. Others by name, as in dns.nameservers, over TLS or on this host; "
            "without nameservers, a resolver of /etc/resolv.conf on this host, which counts without trust-ad then. "
            "Where one is believed, no other is asked."
        ),
    ] = (LOOPBACK,)
    users: Annotated[
        tuple[str, ...],
        Meta(
            description="Users, by name or number, who may listen at the port of a resolver on this host that is "
            "believed, besides root and the one who asks. Only a port above 1023 is looked at: any user of this host "
            "could listen there while the resolver is down."
        ),
    ] = RESOLVER_USERS
    through_tor: Annotated[
        bool,
        Meta(
            description="Ask by TCP through tor.socks. Resolvers that are not onions need a SocksPort without "
            "OnionTrafficOnly; give timeout 30 seconds then."
        ),
    ] = False
    tls_ca_file: Annotated[
        str, Meta(description="File with the CAs for resolvers over TLS, in PEM; empty for those of the system.")
    ] = ""
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
        int,
        Meta(
            ge=1,
            le=1000,
            description="Questions of sync that are under way at the same time in the ordinary way: over TLS, through "
            "Tor, and for domains that have a record or an unusual answer.",
        ),
    ] = 50
    bulk_concurrency: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Plain UDP questions of sync that are under way at one resolver at the same time, at most; "
            "fewer while it loses many.",
        ),
    ] = 500
    bulk_rate: Annotated[
        float,
        Meta(
            ge=0,
            le=1_000_000,
            description="Plain UDP questions of sync a second to a resolver that is not on loopback; 0 for as many as "
            "it answers.",
        ),
    ] = 1000.0

    def __post_init__(self) -> None:
        """Refuse resolvers that cannot be asked, and such whose word is worth nothing."""
        for resolver in self.resolvers:
            if resolver.is_onion and not self.through_tor:
                raise ValueError(f"dns.nameservers: {resolver} is an onion: set dns.through_tor = true")
            if resolver.is_named and self.through_tor:
                raise ValueError(
                    f"dns.nameservers: {resolver.host} is a name, which would be asked for outside of Tor: expected "
                    "an IP address or an onion, as dns.through_tor is set"
                )
        if self.through_tor and not self.nameservers:
            raise ValueError("dns.through_tor: expected the resolvers to ask in dns.nameservers")
        for text in self.trusted:
            if text != LOOPBACK and text not in self.nameservers and not self._may_be_of_system(text):
                raise ValueError(f"dns.trusted: {text!r} is not in dns.nameservers: expected it there, as here")
            if text != LOOPBACK and not self._can_be_believed(parse_resolver(text)):
                raise ValueError(
                    f"dns.trusted: {text!r} is neither on loopback nor asked over TLS, and anyone on the way could "
                    f"say that DNSSEC has validated an answer: expected tls://IP[:PORT]#NAME, or not to trust it"
                )

    @property
    def resolvers(self) -> tuple[Resolver, ...]:
        """The resolvers in `nameservers`."""
        return tuple(map(parse_resolver, self.nameservers))

    def believes(self, resolver: Resolver, *, vouched: bool = True) -> bool:
        """Whether a resolver is believed when it says that DNSSEC has validated an answer (RFC 4035, AD bit).

        Args:
            resolver: one of `nameservers`, or of /etc/resolv.conf.
            vouched: somebody has named it for this: `nameservers`, or `options trust-ad`.
        """
        is_named = any(text != LOOPBACK and parse_resolver(text) == resolver for text in self.trusted)
        is_here = vouched and LOOPBACK in self.trusted and resolver.is_loopback and not self.through_tor
        return is_here or (is_named and self._can_be_believed(resolver))

    def _may_be_of_system(self, text: str) -> bool:
        if self.nameservers:
            return False
        resolver = parse_resolver(text)
        return resolver.is_loopback and resolver == Resolver(resolver.host, SYSTEM_PORT)

    def _can_be_believed(self, resolver: Resolver) -> bool:
        # Through Tor, 127.0.0.1 is the loopback of the exit.
        return bool(resolver.tls_name) or (resolver.is_loopback and not self.through_tor)
