"""The resolver for onion-MX records as the configuration wants it: asked directly, or through Tor."""

import socket

from onionmx.config import DnsSection, TorSection
from onionmx.dns.srv import SrvResolver
from onionmx.dns.stream import Connect
from onionmx.onion import SUFFIX, Endpoint
from onionmx.tor.socks import Cause, SocksConnector, SocksError

_WORDS = {
    Cause.NOT_ALLOWED: "tor does not allow it: for resolvers that are not onions, tor.socks must name a SocksPort "
    "without OnionTrafficOnly",
    Cause.HOST_UNREACHABLE: "tor found no exit that reaches it",
    Cause.REFUSED: "it refused the connection: nothing listens on this port",
}
"""What the causes mean for a resolver that is not an onion."""


def srv_resolver(settings: DnsSection, tor: TorSection) -> SrvResolver:
    """A resolver; where `dns.through_tor` is set, its questions take Tor's SOCKS port and nothing else.

    Args:
        settings: resolvers, and how they are reached.
        tor: where Tor's SOCKS port is.

    Raises:
        ConfigurationError: no resolver is configured, or the CAs for one cannot be read.
    """
    return SrvResolver(settings, resolver_connect(settings, tor))


def resolver_connect(settings: DnsSection, tor: TorSection) -> Connect | None:
    """What opens connections to resolvers through Tor; `None` where they are asked directly.

    Args:
        settings: how they are reached.
        tor: where Tor's SOCKS port is.
    """
    if not settings.through_tor:
        return None
    # Not tor.connect_timeout: nobody waits longer for an answer.
    connector = SocksConnector(tor.socks, settings.timeout, tor.user)

    async def connect(endpoint: Endpoint) -> socket.socket:
        try:
            return await connector.connect(endpoint)
        except SocksError as error:
            words = error.words if endpoint[0].endswith(SUFFIX) else _WORDS.get(error.cause, error.words)
            raise ConnectionError(words) from error

    return connect
