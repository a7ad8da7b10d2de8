"""dnspython's asyncio resolver, asking those whom the configuration names in the way that it says."""

import copy
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.nameserver
import dns.rcode
import dns.resolver

from onionmx.config import DnsSection, Resolver
from onionmx.dns.resolv_conf import system_resolvers
from onionmx.dns.stream import Connect, StreamNameserver
from onionmx.dns.wire import UDP_PAYLOAD
from onionmx.errors import ConfigurationError, DnsError
from onionmx.net.tls import verifying_context
from onionmx.onion import is_for_tor_alone

MAX_ALIASES = 8
"""In a row; as many as unbound and BIND follow, about. A loop is found by this too."""
_WITHOUT_EDNS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTIMP})
"""What a resolver says to an OPT record that it does not know."""
_ATTEMPTS = 3  # of a question at one resolver within the time for it


def make_resolver(settings: DnsSection, connect: Connect | None = None) -> dns.asyncresolver.Resolver:
    """A resolver that asks for DNSSEC's verdict and nobody but those in the configuration.

    Args:
        settings: resolvers and timeouts.
        connect: opens connections through Tor; must be given where `dns.through_tor` is set.

    Raises:
        ConfigurationError: no resolver is configured, here or in /etc/resolv.conf, or the CAs cannot be read.
    """
    if settings.through_tor and connect is None:
        raise ConfigurationError("dns.through_tor is set, and this command has no way to ask DNS through tor")
    resolver = _Resolver(configure=False)
    if settings.nameservers:
        resolver.nameservers = [_nameserver(each, settings, connect) for each in settings.resolvers]
    else:
        resolver.nameservers = system_resolvers()
    resolver.timeout = settings.timeout / _ATTEMPTS
    resolver.lifetime = settings.timeout
    # AD in a question asks for AD in the answer without the weight of the signatures (RFC 6840 section 5.7).
    resolver.flags = dns.flags.RD | dns.flags.AD
    resolver.use_edns(0, 0, UDP_PAYLOAD)
    return resolver


def plain_resolver(resolver: dns.asyncresolver.Resolver) -> Resolver | None:
    """Who is asked first, where that is by UDP; else `None`."""
    first = resolver.nameservers[0]
    if isinstance(first, str):  # of /etc/resolv.conf
        return Resolver(first, resolver.nameserver_ports.get(first, resolver.port))
    return Resolver(first.address, first.port) if isinstance(first, dns.nameserver.Do53Nameserver) else None


def is_validated(answer: dns.resolver.Answer, settings: DnsSection) -> bool:
    """Whether a resolver that is believed says that DNSSEC has validated an answer."""
    if not answer.response.flags & dns.flags.AD or answer.nameserver is None or answer.port is None:
        return False
    asked = {(each.host, each.port): each for each in settings.resolvers}
    who = answer.nameserver, answer.port
    return settings.believes(asked.get(who) or Resolver(*who))


def is_denial_validated(
    response: dns.message.Message, resolver: dns.asyncresolver.Resolver, settings: DnsSection
) -> bool:
    """The same for NXDOMAIN. dnspython does not tell which resolver said so, so each of them must be one to believe."""
    if not response.flags & dns.flags.AD:
        return False
    if settings.nameservers:
        return all(map(settings.believes, settings.resolvers))
    return all(settings.believes(Resolver(str(host), resolver.port)) for host in resolver.nameservers)


def causes(error: dns.resolver.LifetimeTimeout | dns.resolver.NoNameservers) -> str:
    """The last thing that went wrong at each resolver, in words, for the end of a message."""
    found = {}
    for server, tcp, _port, cause, _response in error.kwargs.get("errors", ()):
        where = server
        if server.startswith("Do53:"):
            where = server.removeprefix("Do53:").replace("@", " port ") + (" over TCP" if tcp else "")
        if isinstance(cause, dns.exception.Timeout):
            found[server] = f"{where}: no answer"
        elif isinstance(cause, str):
            found[server] = f"{where}: answered {cause}"
        else:
            found[server] = f"{where}: {str(cause).rstrip('.') or type(cause).__name__}"
    return "; " + "; ".join(found.values()) if found else ""


@contextmanager
def translated(settings: DnsSection) -> Iterator[None]:
    """Turn what goes wrong while dnspython asks into a `DnsError` that says who did not answer, and how.

    NXDOMAIN is an answer, and is for the caller to catch inside.
    """
    try:
        yield
    except dns.resolver.LifetimeTimeout as error:
        raise DnsError(f"no valid answer within {settings.timeout:g} s{causes(error)}") from error
    except dns.resolver.NoNameservers as error:
        raise DnsError(f"no resolver could answer{causes(error)}") from error
    except dns.exception.DNSException as error:
        raise DnsError(f"{type(error).__name__}: {error}") from error


class _Resolver(dns.asyncresolver.Resolver):
    """Asks for no name under .onion, and once more without EDNS where no resolver knows it (RFC 6891 section 7).

    AD can be asked for, and is told, by such a resolver too.
    """

    async def resolve(self, *arguments: Any, **options: Any) -> dns.resolver.Answer:  # noqa: ANN401 -- dnspython's
        """Ask; see dnspython.

        Raises:
            DnsError: the name, which may come from an answer, is for Tor alone (RFC 7686 section 2).
        """
        name = str(arguments[0])
        if is_for_tor_alone(name):
            raise DnsError(f"{name} is a name for Tor, and is asked nowhere else")
        try:
            return await super().resolve(*arguments, **options)
        except dns.resolver.NoNameservers as error:
            if self.edns < 0 or not any(map(_knows_no_edns, error.kwargs.get("errors", ()))):
                raise
        plain = copy.copy(self)
        plain.use_edns(False)  # noqa: FBT003 -- dnspython's
        return await plain.resolve(*arguments, **options)


def _knows_no_edns(failure: tuple[object, ...]) -> bool:
    response = failure[-1]
    return isinstance(response, dns.message.Message) and response.rcode() in _WITHOUT_EDNS


def _nameserver(resolver: Resolver, settings: DnsSection, connect: Connect | None) -> dns.nameserver.Nameserver:
    if not resolver.tls_name and not settings.through_tor:
        return dns.nameserver.Do53Nameserver(resolver.host, resolver.port)
    tls = _tls_context(settings.tls_ca_file) if resolver.tls_name else None
    return StreamNameserver(resolver, tls, connect if settings.through_tor else None, settings.timeout)


def _tls_context(ca_file: str) -> ssl.SSLContext:
    context = verifying_context(ca_file, "dns.tls_ca_file")
    context.set_alpn_protocols(["dot"])
    return context
