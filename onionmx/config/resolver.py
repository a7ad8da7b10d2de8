"""Resolvers as `dns.nameservers` writes them."""

from dataclasses import dataclass
from ipaddress import ip_address

from onionmx.config.address import DEFAULT_DNS_PORT, is_address, parse_host, split_host
from onionmx.domain import normalize, shown
from onionmx.errors import DomainError
from onionmx.onion import SUFFIX, parse_onion, parse_port

TLS = "tls://"
"""The prefix of a resolver that is asked by DNS over TLS (RFC 7858)."""
_DEFAULT_TLS_PORT = "853"


@dataclass(frozen=True, slots=True)
class Resolver:
    """A resolver, and how it is asked.

    Attributes:
        host: IP address; the name of a host, whose addresses the system has to find; or an onion, which only Tor can
            reach.
        port: of UDP and TCP, or of TLS.
        tls_name: the name in its certificate; empty where it is asked without TLS.
    """

    host: str
    port: int
    tls_name: str = ""

    @property
    def is_onion(self) -> bool:
        """Whether only Tor can reach it."""
        return self.host.endswith(SUFFIX)

    @property
    def is_loopback(self) -> bool:
        """Whether the way to it is inside this host, so that nobody can change an answer there."""
        return not (self.is_onion or self.is_named) and ip_address(self.host).is_loopback

    @property
    def is_named(self) -> bool:
        """Whether the system has to find its addresses first."""
        return not (self.is_onion or is_address(self.host))

    def __str__(self) -> str:
        return f"{self.host} port {self.port}" + (f" over TLS as {self.tls_name}" if self.tls_name else "")


def parse_resolver(text: str) -> Resolver:
    """Read `HOST`, `HOST:PORT` or `tls://HOST[:PORT]#NAME`; HOST is an IP address, a name or an onion.

    An IPv6 address is in brackets before a port; the port is 53, or 853 for TLS, where none is written.

    Raises:
        ValueError: not of these forms.
    """
    if not text.startswith(TLS):
        return Resolver(*_parse_address(text, DEFAULT_DNS_PORT))
    address, _, name = text.removeprefix(TLS).partition("#")
    try:
        return Resolver(*_parse_address(address, _DEFAULT_TLS_PORT), normalize(name))
    except DomainError as error:
        raise ValueError(f"{text!r} names no certificate: expected {TLS}HOST[:PORT]#NAME; {error}") from error


def _parse_address(text: str, default_port: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    if host.lower().removesuffix(".").endswith(SUFFIX):
        return parse_onion(host), parse_port(port or default_port)
    host, port = split_host(text)
    try:
        return parse_host(host), parse_port(port or default_port)
    except ValueError as error:
        expected = "expected IP or NAME, alone or with :PORT, or [IPv6]:PORT"
        raise ValueError(f"{shown(text)} is not a name server: {expected}; {error}") from error
