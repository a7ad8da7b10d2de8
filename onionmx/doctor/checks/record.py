"""The onion-MX records of the local domains: do they lead here, and can others trust them?

The authoritative servers are asked, all of them: what a resolver has in its cache is what was true some time ago.
"""

import asyncio
from collections.abc import Sequence

from onionmx.config import PublishSection
from onionmx.doctor.checks.service import SERVICE
from onionmx.doctor.checks.tor_process import CONTROL
from onionmx.doctor.finding import Finding, Severity, not_checked, ok, problem, warning
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import Check, Topic
from onionmx.errors import ControlError
from onionmx.onion import Endpoint, format_endpoint
from onionmx.publish.records import DEFAULT_PRIORITY, DEFAULT_WEIGHT, OnionMxRecords, to_zone_text
from onionmx.publish.signatures import Signed
from onionmx.publish.verify import ServerState, ServerView, Verification, Verifier
from onionmx.target import Target

RECORD = Topic(
    "record",
    "the SRV record of every local domain leads to the onion service, on every name server",
    "others find the service only through this record; one that leads elsewhere gives your mail to somebody else",
    essential=True,
)
SIGNED = Topic(
    "signed-zone",
    "the zone of every local domain is signed, and the signature is valid",
    "without DNSSEC anyone who can forge a DNS answer on the way gives your mail to an onion of his",
)
_NAMED = 3  # domains that are named where all is well


async def look_at_records(machine: Machine) -> Sequence[Finding]:
    """Ask every name server of every local domain."""
    domains = machine.local_domains()
    if not domains:
        fix = 'onionmx.toml: [local] domains = ["example.org"]'
        return [not_checked(topic.name, "local.domains is empty", fix) for topic in (RECORD, SIGNED)]
    verifier = Verifier(machine.configuration.dns)
    # What is there is judged here: a service may have several names, and a domain several services.
    looks = asyncio.gather(*(verifier.check(domain, None) for domain in domains))
    (here, unknown), found = await asyncio.gather(_here(machine), looks)
    records = [judge_record(one, here, machine.configuration.publish, unknown) for one in found]
    return [*_joined(RECORD.name, records), *_joined(SIGNED.name, [judge_signature(one) for one in found])]


def judge_record(
    found: Verification, here: Sequence[Endpoint] | None, settings: PublishSection, unknown: str = ""
) -> Finding:
    """Judge the record of one domain.

    Args:
        found: what its name servers say.
        here: the services of this tor; `None` where they are not known.
        settings: for the record as it should be.
        unknown: what is not known of further services of this tor, to which a record may lead just as well.
    """
    asked = [view for view in found.servers if view.state is not ServerState.UNKNOWN]
    if not asked:
        causes = [found.problem, *(f"{_shown(view)}: {view.words}" for view in found.servers)]
        return not_checked(RECORD.name, f"{found.domain}: {'; '.join(filter(None, causes))}")
    if all(view.state is ServerState.NONE for view in asked):
        why = "others do not know that this host can be reached over Tor"
        fix = _publish(found.domain, here, settings)
        return problem(RECORD.name, f"{found.domain} has no onion-MX record", fix, why)
    if not here:
        leads = ", ".join(dict.fromkeys(filter(None, map(_targets, asked))))
        why_not = "this tor has no service" if here is not None else "tor cannot be asked for its services"
        seen = f"{found.domain} leads to {leads}; {why_not} to compare it with"
        return not_checked(RECORD.name, seen, cause=CONTROL.name if here is None else SERVICE.name)
    others = [view for view in asked if any(target.endpoint not in here for target in view.targets)]
    if others and unknown:
        seen = f"{found.domain} leads to {_targets(others[0])}; {unknown}"
        return not_checked(RECORD.name, seen, cause=SERVICE.name)
    return _judge_targets(found, asked, here, _publish(found.domain, here, settings))


def _judge_targets(found: Verification, asked: Sequence[ServerView], here: Sequence[Endpoint], fix: str) -> Finding:
    wrong = [view for view in asked if not any(target.endpoint in here for target in view.targets)]
    mixed = [view for view in asked if any(target.endpoint not in here for target in view.targets)]
    if wrong:
        said = "; ".join(f"{_shown(view)} says {_targets(view) or view.words or view.state}" for view in wrong)
        return problem(RECORD.name, f"{found.domain} does not lead to a service of this tor: {said}", fix)
    if mixed:
        seen = f"{found.domain} leads also to others than the services of this tor: {_targets(mixed[0])}"
        return warning(RECORD.name, seen, fix)
    silent = len(found.servers) - len(asked)
    more = f"; {silent} addresses of name servers cannot be asked from here" if silent else ""
    return ok(RECORD.name, f"{found.domain} leads to {_targets(asked[0])} on {len(asked)} name servers{more}")


def judge_signature(found: Verification) -> Finding:
    """Judge the signature over the record of one domain."""
    zone = found.zone or found.domain
    seen = f"{found.domain}: {found.signed}: {found.signed_words}"
    match found.signed:
        case Signed.VALID:
            return ok(SIGNED.name, seen)
        case Signed.UNSIGNED:
            lines = f"named.conf, zone {zone}: dnssec-policy default; inline-signing yes;"
            return warning(SIGNED.name, seen, f"{lines}\nknot.conf, zone {zone}: dnssec-signing: on")
        case Signed.ISLAND:
            return warning(SIGNED.name, seen, f"give the registrar what this prints: dig +short {zone} CDS")
        case Signed.BOGUS:
            why = "resolvers that validate refuse the zone: nobody behind one can send you mail, over Tor or not"
            return problem(SIGNED.name, seen, f"rndc sign {zone}\nknotc zone-sign {zone}", why)
        case Signed.UNKNOWN:
            return not_checked(SIGNED.name, seen)


def _joined(check: str, findings: Sequence[Finding]) -> list[Finding]:
    """One finding for all domains where all is well, and one each for the others."""
    good = [finding for finding in findings if finding.severity is Severity.OK]
    others = [finding for finding in findings if finding.severity is not Severity.OK]
    if len(good) > _NAMED:
        seen = "; ".join(finding.seen for finding in good[:_NAMED])
        good = [ok(check, f"{len(good)} domains: {seen}; ...")]
    return [*others, *good]


def _publish(domain: str, here: Sequence[Endpoint] | None, settings: PublishSection) -> str:
    """The record as it should be, and the command that publishes it."""
    if not here:
        return "onionmx onion create"
    targets = tuple(Target(onion, port, DEFAULT_PRIORITY, DEFAULT_WEIGHT) for onion, port in here)
    return f"{to_zone_text([OnionMxRecords(domain, targets, settings.ttl)])}onionmx publish {domain}"


def _shown(view: ServerView) -> str:
    return f"{view.server} ({view.address})" if view.address else view.server


def _targets(view: ServerView) -> str:
    return " ".join(format_endpoint(target.endpoint) for target in view.targets)


async def _here(machine: Machine) -> tuple[list[Endpoint] | None, str]:
    """The services of this tor, and what is not known of further ones."""
    try:
        services = await machine.services()
    except ControlError:
        return None, ""
    known = [(one.onion, forward.port) for one in services if one.onion for forward in one.ports]
    return known, next((one.problem for one in services if one.onion is None or not one.ports_known), "")


CHECK = Check((RECORD, SIGNED), look_at_records)
