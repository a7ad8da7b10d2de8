"""The resolver: whether it validates, and whether its word can be believed."""

import asyncio
from collections.abc import Sequence
from enum import Enum

import dns.exception
import dns.flags

from onionmx.answer import Found
from onionmx.config import DnsSection
from onionmx.dns.resolver import is_validated, make_resolver
from onionmx.doctor.finding import Finding, not_checked, ok, warning
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import Check, Topic
from onionmx.target import Trust
from onionmx.tor.resolver import srv_resolver

RESOLVER = Topic(
    "resolver",
    "a resolver that can be believed validates DNSSEC",
    "without it a forged SRV record cannot be told from a true one, and leads mail to the onion of somebody else",
)
_MEND = 'apt-get install unbound dns-root-data\nonionmx.toml: [dns] nameservers = ["127.0.0.1"]'
_DOMAINS = 5  # own domains that are asked for; one that is signed is enough


class Root(Enum):
    """What a resolver says of the root zone, which is signed."""

    VALIDATED = "validated"
    NOT_BELIEVED = "validated, by a resolver that is not believed"
    NOT_VALIDATED = "not validated"
    UNKNOWN = "unknown"


async def look_at_resolver(machine: Machine) -> Sequence[Finding]:
    """Ask for what is signed: the root zone, and the own domains where they are."""
    root, signed = await asyncio.gather(_ask_for_root(machine.configuration.dns), _signed_domain(machine))
    return [judge_resolver(root, signed)]


def judge_resolver(root: Root, signed: str) -> Finding:
    """Judge the resolver.

    Args:
        root: what it says of the root zone.
        signed: an own domain whose record it has validated; empty for none.
    """
    if signed:
        return ok(RESOLVER.name, f"the record of {signed} is validated")
    match root:
        case Root.VALIDATED:
            return ok(RESOLVER.name, "the root zone is validated")
        case Root.NOT_BELIEVED:
            seen = (
                "the resolver validates, but it is neither on this machine nor asked over TLS and named in dns.trusted"
            )
            why = "whoever is on the way to it can say that a forged record was validated"
            return warning(RESOLVER.name, seen, _MEND, why)
        case Root.NOT_VALIDATED:
            return warning(RESOLVER.name, "the resolver does not validate the root zone", _MEND)
        case Root.UNKNOWN:
            return not_checked(
                RESOLVER.name, "the resolver tells nothing of the root zone, and no own domain is known to be signed"
            )


async def _ask_for_root(settings: DnsSection) -> Root:
    if settings.through_tor:
        return Root.UNKNOWN
    try:
        answer = await make_resolver(settings).resolve(".", "SOA", raise_on_no_answer=False)
    except dns.exception.DNSException:
        return Root.UNKNOWN
    if is_validated(answer, settings):
        return Root.VALIDATED
    if answer.response.flags & dns.flags.AD:
        return Root.NOT_BELIEVED
    return Root.NOT_VALIDATED if answer.rrset else Root.UNKNOWN


async def _signed_domain(machine: Machine) -> str:
    domains = machine.own_domains()[:_DOMAINS]
    resolver = srv_resolver(machine.configuration.dns, machine.configuration.tor)
    try:
        answers = await asyncio.gather(*map(resolver.ask, domains))
    finally:
        resolver.close()
    for domain, answer in zip(domains, answers, strict=True):
        if isinstance(answer, Found) and answer.route.trust is Trust.DNSSEC:
            return domain
    return ""


CHECK = Check((RESOLVER,), look_at_resolver)
