"""The resolver: whether it validates, and whether its word can be believed."""

import asyncio
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.resolver

from onionmx.answer import Found
from onionmx.dns.resolver import DnsResolver
from onionmx.doctor.finding import Finding, not_checked, ok, problem, warning
from onionmx.doctor.machine import Machine, in_thread
from onionmx.doctor.runner import Check, Topic
from onionmx.doctor.signed import signed_routes
from onionmx.errors import DnsError, OnionmxError
from onionmx.smtp.printable import printable
from onionmx.target import Trust

RESOLVER = Topic(
    "resolver",
    "a resolver that can be believed validates DNSSEC, and refuses what is signed wrongly",
    "without it a forged SRV record cannot be told from a true one, and leads mail to the onion of somebody else",
)
_FIX = 'apt-get install unbound dns-root-data\nonionmx.toml: [dns] nameservers = ["127.0.0.1"]'
_DOMAINS = 5  # local domains that are asked for; one that is signed is enough
_SHOWN = 5  # domains that are named
_FORWARDERS = ("dnsmasq", "coredns", "systemd")  # as they call themselves, in lower case
_LONGEST = 60  # characters of that


class Root(Enum):
    """What a resolver says of the root zone, which is signed."""

    VALIDATED = "validated"
    NOT_VALIDATED = "not validated"
    UNKNOWN = "unknown"


class Bogus(Enum):
    """What a resolver says of a name whose signatures are wrong."""

    REFUSED = "refused: SERVFAIL, and an answer where it is told not to validate"
    TAKEN = "taken: it answers"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class View:
    """One resolver, as it was seen.

    Attributes:
        where: it is, in words.
        root: what it says of the root zone, or of a local domain that it validates.
        bogus: what it says of a name whose signatures are wrong.
        program: what it calls itself; empty where it does not say.
    """

    where: str
    root: Root
    bogus: Bogus = Bogus.UNKNOWN
    program: str = ""

    @property
    def is_forwarder(self) -> bool:
        """Whether it calls itself by the name of a program that passes AD on from another resolver."""
        return self.program.lower().startswith(_FORWARDERS)


@dataclass(frozen=True, slots=True)
class ResolverTrust:
    """Whether the resolvers are believed.

    Attributes:
        are_believed: they are.
        is_trust_ad_missing: see `onionmx.dns.choice.Choice`.
        losing: domains whose route was signed for a resolver that was believed.
    """

    are_believed: bool
    is_trust_ad_missing: bool = False
    losing: Sequence[str] = ()


async def look_at_resolver(machine: Machine) -> Sequence[Finding]:
    """Ask for what is signed, the root zone and the local domains where they are, and for what is signed wrongly."""
    configuration = machine.configuration
    if configuration.dns.through_tor:
        return [judge_resolver((), ResolverTrust(are_believed=False), await _signed_domain(machine))]
    resolver = DnsResolver(configuration.dns)
    bogus = configuration.doctor.bogus_name
    try:
        names = [".", *(f"{domain}." for domain in machine.local_domains()[:_DOMAINS])]
        numbers = range(len(resolver.nameservers))
        looking = asyncio.gather(*(_view(resolver, number, names, bogus) for number in numbers))
        signed, views = await asyncio.gather(_signed_domain(machine), looking)
    finally:
        resolver.close()
    choice = resolver.choice
    losing: Sequence[str] = ()
    unknown = []
    if not choice.are_believed:
        try:
            losing = await in_thread(lambda: signed_routes(configuration))
        except OnionmxError as error:
            unknown = [not_checked(RESOLVER.name, f"whether it takes the trust from routes that were signed: {error}")]
    standing = ResolverTrust(choice.are_believed, choice.is_trust_ad_missing, losing)
    return [judge_resolver(views, standing, signed), *unknown]


def judge_resolver(views: Sequence[View], standing: ResolverTrust, signed: str) -> Finding:
    """Judge the resolvers.

    Args:
        views: of each that is asked.
        standing: whether they are believed.
        signed: a local domain whose record has been validated; empty for none.
    """
    says_ad = [view for view in views if view.root is Root.VALIDATED]
    if standing.are_believed and (found := _in_disguise(views, says_ad)):
        return found
    if signed:
        return ok(RESOLVER.name, f"the record of {signed} is validated")
    if not views or all(view.root is Root.UNKNOWN for view in views):
        return not_checked(
            RESOLVER.name, "the resolver tells nothing of the root zone, and no local domain is known to be signed"
        )
    if not says_ad:
        seen = "the resolver does not validate the root zone" + _losing(standing)
        return warning(RESOLVER.name, seen, _FIX)
    if not standing.are_believed:
        return _not_believed(says_ad[0], standing)
    refused = any(view.bogus is Bogus.REFUSED for view in says_ad)
    words = ", and what is signed wrongly is refused" if refused else ""
    return ok(RESOLVER.name, f"the root zone is validated{words}")


def _in_disguise(views: Sequence[View], says_ad: Sequence[View]) -> Finding | None:
    """One that is believed and should not be."""
    for view in views:
        if view.bogus is Bogus.TAKEN and says_ad:
            seen = f"{view.where} is believed, and does not validate: it answers for a name whose signatures are wrong"
            why = "AD in its answers is what others say, and anyone on the way to them can say it of a forged record"
            return problem(RESOLVER.name, seen, _FIX + "\nor, to believe nobody: [dns] trusted = []", why)
    for view in says_ad:
        if view.is_forwarder:
            seen = f"{view.where} is believed, and calls itself {view.program!r}: a forwarder"
            why = "unless it validates itself, anyone on the way to the resolver behind it can say of a forged "
            why += "record that it was validated"
            return warning(RESOLVER.name, seen, f"{_FIX}\ndnsmasq: dnssec, without proxy-dnssec", why)
    return None


def _not_believed(view: View, standing: ResolverTrust) -> Finding:
    if standing.is_trust_ad_missing:
        seen = f"{view.where} validates, and /etc/resolv.conf does not say that it may be believed" + _losing(standing)
        why = "some resolvers on a host pass on what others say, so programs believe them only with `options trust-ad`"
        fix = _FIX
        if view.bogus is Bogus.REFUSED and not view.is_forwarder:
            fix = "/etc/resolv.conf: options trust-ad\nor onionmx.toml: [dns] nameservers with its address"
        return warning(RESOLVER.name, seen, fix, why)
    seen = "the resolver validates, but it is neither on this machine nor asked over TLS and named in dns.trusted"
    why = "anyone on the way to it can say that a forged record was validated"
    return warning(RESOLVER.name, seen + _losing(standing), _FIX, why)


def _losing(standing: ResolverTrust) -> str:
    if not standing.losing:
        return ""
    names = printable(", ".join(standing.losing[:_SHOWN]))
    more = f" and {len(standing.losing) - _SHOWN} more" if len(standing.losing) > _SHOWN else ""
    return f"; routes that were signed count as unsigned when they are asked for next: {names}{more}"


async def _view(resolver: DnsResolver, number: int, names: Sequence[str], bogus: str) -> View:
    one = copy.copy(resolver)
    one.nameservers = [resolver.nameservers[number]]
    zones, refused, program = await asyncio.gather(
        asyncio.gather(*(_ask_for_zone(one, name) for name in names)), _ask_for_bogus(one, bogus), _program(one)
    )
    root = Root.VALIDATED if Root.VALIDATED in zones else zones[0]
    return View(str(resolver.choice.resolvers[number]), root, refused, program)


async def _ask_for_zone(resolver: DnsResolver, name: str) -> Root:
    try:
        answer = await resolver.resolve(name, "SOA", raise_on_no_answer=False, search=False)
    except (dns.exception.DNSException, DnsError):
        return Root.UNKNOWN
    if answer.response.flags & dns.flags.AD:
        return Root.VALIDATED
    return Root.NOT_VALIDATED if answer.rrset else Root.UNKNOWN


async def _ask_for_bogus(resolver: DnsResolver, name: str) -> Bogus:
    if not name:
        return Bogus.UNKNOWN
    if await _has_address(resolver, name):
        return Bogus.TAKEN
    # SERVFAIL may have any cause: only where validation is what made it does the answer come without.
    unchecked = copy.copy(resolver)
    unchecked.flags = dns.flags.RD | dns.flags.CD
    return Bogus.REFUSED if await _has_address(unchecked, name) else Bogus.UNKNOWN


async def _has_address(resolver: DnsResolver, name: str) -> bool:
    try:
        answer = await resolver.resolve(f"{name}.", "A", raise_on_no_answer=False, search=False)
    except (dns.exception.DNSException, DnsError):
        return False
    return answer.rrset is not None


async def _program(resolver: DnsResolver) -> str:
    try:
        answer = await resolver.resolve("version.bind.", "TXT", "CH", raise_on_no_answer=False, search=False)
    except (dns.exception.DNSException, DnsError):
        return ""
    for record in answer.rrset or ():
        words = b" ".join(record.strings).decode("ascii", "backslashreplace")
        return "".join(each if each.isprintable() else "?" for each in words)[:_LONGEST]
    return ""


async def _signed_domain(machine: Machine) -> str:
    domains = machine.local_domains()[:_DOMAINS]
    answers = await asyncio.gather(*map(machine.parts.resolver.ask, domains))
    for domain, answer in zip(domains, answers, strict=True):
        if isinstance(answer, Found) and answer.route.trust is Trust.DNSSEC:
            return domain
    return ""


CHECK = Check((RESOLVER,), look_at_resolver)
