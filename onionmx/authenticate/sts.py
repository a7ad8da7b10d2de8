"""What MTA-STS says of a domain (RFC 8461 section 5), with what was known before."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import dns.rdtypes.ANY.TXT

from onionmx.answer import CouldNotTell
from onionmx.authenticate.fetch import FetchError
from onionmx.authenticate.policy import WILDCARD, Mode, Policy, PolicyError, read_records
from onionmx.authenticate.questions import Questions
from onionmx.authenticate.requirement import Demand, Kind, NotRequired, Requirement
from onionmx.errors import DnsError

RECORD = "_mta-sts."
LOOK_AGAIN = 86400.0
"""Seconds after which the TXT record of a known policy is looked at again (RFC 8461 section 3.3: about once a day)."""

Fetch = Callable[[str], Awaitable[Policy | None]]
"""Fetches the policy of a domain; see `fetch_policy`."""


async def sts_requirement(
    domain: str, questions: Questions, fetch: Fetch, known: Requirement | None, now: float
) -> Requirement | NotRequired | CouldNotTell:
    """Find out whether a domain has a policy in mode enforce.

    A policy that is known holds until its time is over, whatever DNS or the policy host say, unless the host itself
    serves another one (RFC 8461 section 3.3). While DNS announces a policy and it cannot be fetched, nobody can tell:
    whoever forges the SRV record could as well block the policy.

    Args:
        domain: in normal form.
        questions: asks DNS.
        fetch: fetches a policy.
        known: what was found before.
        now: seconds since 1970.
    """
    if known is not None and (known.demand.kind is not Kind.MTA_STS or known.expires <= now):
        known = None
    try:
        answer = await questions.ask(RECORD + domain, "TXT")
    except DnsError as error:
        return known or CouldNotTell(domain, f"MTA-STS: {error}")
    look_at = answer.look_at(now)
    identifier = read_records(map(_text, answer.records))
    if identifier is None:
        reason = "its TXT record announces no MTA-STS policy" if answer.records else "no MTA-STS policy in DNS"
        return _seen(known, look_at) if known else NotRequired(domain, reason, look_at)
    if known and known.identifier == identifier and known.expires - now > LOOK_AGAIN:
        return _seen(known, look_at)
    try:
        policy = await fetch(domain)
    except (FetchError, PolicyError) as error:
        reason = f"its MTA-STS policy is announced and cannot be read: {error}"
        return _seen(known, look_at) if known else CouldNotTell(domain, reason)
    return known if policy is None and known else _judge(domain, identifier, policy, now, look_at)


def _judge(
    domain: str, identifier: str, policy: Policy | None, now: float, look_at: float
) -> Requirement | NotRequired:
    if policy is None:
        return NotRequired(domain, "its policy host says that it has no MTA-STS policy", look_at)
    if policy.mode is not Mode.ENFORCE:
        return NotRequired(domain, f"its MTA-STS policy has mode {policy.mode}", look_at)
    demand = Demand(Kind.MTA_STS, policy.patterns, server_name=_server_name(policy))
    expires = now + policy.max_age
    return Requirement(domain, demand, min(look_at, expires), expires, identifier)


def _seen(known: Requirement, look_at: float) -> Requirement:
    return replace(known, look_at=min(look_at, known.expires))


def _server_name(policy: Policy) -> str:
    """Which certificate to ask for: that of the first MX with a name of its own, or whichever the server shows."""
    return next((pattern for pattern in policy.patterns if not pattern.startswith(WILDCARD)), "")


def _text(record: object) -> bytes:
    assert isinstance(record, dns.rdtypes.ANY.TXT.TXT)  # noqa: S101 -- the type of the question
    return b"".join(record.strings)
