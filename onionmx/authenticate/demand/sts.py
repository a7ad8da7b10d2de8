"""What MTA-STS says of a domain (RFC 8461 section 5), with what was known before."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from zlib import crc32

import dns.rdtypes.ANY.TXT

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.fetch import FetchError
from onionmx.authenticate.demand.policy import WILDCARD, Mode, Policy, PolicyError, read_records
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind, NotRequired
from onionmx.clock import Timestamp
from onionmx.defaults import DAY
from onionmx.dns.records import RecordResolver
from onionmx.domain import Domain
from onionmx.errors import DnsError

RECORD = "_mta-sts."
RETRY = 3600.0
"""Seconds after which a policy that could not be fetched again is fetched at the latest."""
GRACE = 2 * DAY
"""Seconds after the end of a policy for which it cannot be told that the domain has none, while its host is silent."""

_EARLIEST = 0.75  # share of its time after which a policy is fetched again; chance decides up to the whole of it

Fetch = Callable[[str], Awaitable[Policy | None]]
"""Fetches the policy of a domain; see `fetch_policy`."""


async def sts_requirement(
    domain: Domain, questions: RecordResolver, fetch: Fetch, known: EnforcedPolicy | None, now: Timestamp
) -> EnforcedPolicy | NotRequired | CouldNotTell:
    """Find out whether a domain has a policy in mode enforce.

    A policy that is known holds until its time is over, whatever DNS or the policy host say, unless the host itself
    serves another one (RFC 8461 section 3.3). It is fetched again every day, announced or not: so only an attacker
    who hides both for nearly all of its max_age ends it (RFC 8461 section 10.2). While DNS announces a policy and it
    cannot be fetched, nobody can tell: an attacker who forges the SRV record can also block the policy.

    Args:
        known: what was found before, whenever that was.
    """
    if known is not None and (known.demand.kind is not Kind.MTA_STS or known.expires + GRACE <= now):
        known = None
    identifier, look_at = None, now + RETRY
    try:
        answer = await questions.ask(RECORD + domain, "TXT")
    except DnsError as error:
        if known is None:
            return CouldNotTell(domain, f"MTA-STS: {error}")
    else:
        look_at = answer.look_at(now)
        identifier = read_records(map(_text, answer.records))
        if known is None and identifier is None:
            reason = "its TXT record announces no MTA-STS policy" if answer.records else "no MTA-STS policy in DNS"
            return NotRequired(domain, reason, look_at)
    if known is not None and identifier in {None, known.identifier} and known.fetched <= now < refresh_at(known):
        return _until(known, min(look_at, refresh_at(known)))
    try:
        policy = await fetch(domain)
    except (FetchError, PolicyError) as error:
        return _without_policy(domain, known, str(error), now, look_at)
    if policy is None and known is not None and now < known.expires:
        return _without_policy(domain, known, "its host says that it has none", now, look_at)
    return _judge(domain, identifier or (known.identifier if known else ""), policy, now, look_at)


def refresh_at(known: EnforcedPolicy) -> float:
    """When to fetch a policy again, announced or not, in seconds since 1970.

    Once a day (RFC 8461 section 3.3), and more often where it holds for less than two. The moment differs between
    domains whose policies were fetched together, so that they are not all fetched together again.
    """
    most = min(DAY, (known.expires - known.fetched) / 2)
    chance = crc32(f"{known.domain} {known.fetched}".encode()) / 2**32
    return known.fetched + most * (_EARLIEST + (1 - _EARLIEST) * chance)


def _without_policy(
    domain: str, known: EnforcedPolicy | None, why: str, now: Timestamp, look_at: float
) -> EnforcedPolicy | CouldNotTell:
    if known is not None and now < known.expires:
        return _until(replace(known, trouble=why), min(look_at, now + RETRY))
    if known is not None:
        return CouldNotTell(domain, f"its MTA-STS policy has ended, and cannot be fetched again: {why}")
    return CouldNotTell(domain, f"its MTA-STS policy is announced and cannot be read: {why}")


def _judge(
    domain: str, identifier: str, policy: Policy | None, now: Timestamp, look_at: float
) -> EnforcedPolicy | NotRequired:
    if policy is None:
        return NotRequired(domain, "its policy host says that it has no MTA-STS policy", look_at)
    if policy.mode is not Mode.ENFORCE:
        return NotRequired(domain, f"its MTA-STS policy has mode {policy.mode}", look_at)
    demand = Demand(Kind.MTA_STS, policy.patterns, server_name=_server_name(policy))
    found = EnforcedPolicy(domain, demand, look_at, now + policy.max_age, identifier, now)
    return _until(found, min(look_at, refresh_at(found)))


def _until(known: EnforcedPolicy, look_at: float) -> EnforcedPolicy:
    return replace(known, look_at=min(look_at, known.expires))


def _server_name(policy: Policy) -> str:
    """Which certificate to ask for: that of the first MX with a name of its own, or whichever the server shows."""
    return next((pattern for pattern in policy.patterns if not pattern.startswith(WILDCARD)), "")


def _text(record: object) -> bytes:
    assert isinstance(record, dns.rdtypes.ANY.TXT.TXT)  # noqa: S101 -- the type of the question
    return b"".join(record.strings)
