"""Who is asked, and whether they are believed when they say that DNSSEC has validated an answer."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from onionmx.config import SYSTEM_PORT, DnsSection, Resolver
from onionmx.dns.resolv_conf import system_resolvers
from onionmx.errors import HostError, OwnerError
from onionmx.net.names import find_host
from onionmx.net.owner import ListenerOwner


@dataclass(frozen=True, slots=True)
class Choice:
    """The resolvers that are asked.

    Attributes:
        resolvers: in order; where one is believed, only such, so that what one of them finds bogus, or cannot find out,
            is not asked of another that would take a forged answer.
        are_believed: whether their AD counts (RFC 4035 section 3.2.3).
        left_out: configured, and not asked for that reason.
        is_trust_ad_missing: they are those of /etc/resolv.conf, on this host, and not believed for want of
            `options trust-ad` there.
        users: who may listen at the port of a believed resolver on this host, besides root; see `ListenerOwner`.
    """

    resolvers: tuple[Resolver, ...]
    are_believed: bool
    left_out: tuple[Resolver, ...] = ()
    is_trust_ad_missing: bool = False
    users: tuple[str, ...] = ()

    def listener(self, resolver: Resolver, *, is_udp: bool) -> ListenerOwner | None:
        """Who listens for what is sent to a resolver: to be confirmed with the answer.

        A certificate says it too, and who is not believed may be anybody: `None` then.

        Args:
            is_udp: it is asked by UDP.

        Raises:
            OwnerError: somebody else, or it cannot be told; the text says what to do.
        """
        if not self.are_believed or resolver.tls_name or not resolver.is_loopback:
            return None
        try:
            return ListenerOwner(resolver.host.partition("%")[0], resolver.port, self.users, is_udp=is_udp)
        except OwnerError as error:
            raise OwnerError(f"{error}; if it is your resolver, name its user in dns.users") from error


def choose(settings: DnsSection) -> Choice:
    """Choose the resolvers to ask. Those that have names are found now, and stay at their addresses.

    Args:
        settings: resolvers, and who is believed.

    Raises:
        ConfigurationError: no resolver is configured, here or in /etc/resolv.conf.
        HostError: one of them cannot be found.
    """
    vouched = True
    if settings.resolvers:
        origins = _found(settings)
    else:
        system = system_resolvers()
        origins = {each: each for each in (Resolver(address, SYSTEM_PORT) for address in system.addresses)}
        vouched = system.trusts_ad
    known = tuple(origins)
    believed = tuple(
        each
        for each, written in origins.items()
        if settings.believes(each, vouched=vouched) or settings.believes(written, vouched=vouched)
    )
    if believed:
        left_out = tuple(each for each in known if each not in believed)
        return Choice(believed, are_believed=True, left_out=left_out, users=settings.users)
    is_missing = not vouched and any(map(settings.believes, known))
    return Choice(known, are_believed=False, is_trust_ad_missing=is_missing)


def _found(settings: DnsSection) -> dict[Resolver, Resolver]:
    """The resolvers with their addresses, each with the one that the configuration names for it.

    A name that leads to this machine is believed like the address: it is looked at who listens there. One that leads
    elsewhere is believed by its certificate alone.
    """
    found: dict[Resolver, Resolver] = {}
    for written in settings.resolvers:
        try:
            for each in _addresses(written):
                found.setdefault(each, written)
        except HostError as error:
            # Without it another might be asked who is not believed: a name that is kept from us must not bring that.
            raise HostError(f"dns.nameservers: {error}") from error
    return found


def _addresses(resolver: Resolver) -> Iterator[Resolver]:
    if not resolver.is_named:
        yield resolver
        return
    for host in find_host(resolver.host, anywhere=bool(resolver.tls_name)):
        yield replace(resolver, host=host)
