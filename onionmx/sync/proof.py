"""Having onion MXes of unsigned records prove themselves, as far as it is time to."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Protocol

from msgspec.structs import replace

from onionmx.answer import CouldNotTell
from onionmx.authenticate.inquiry import Inquiry, Said
from onionmx.authenticate.prove import NotProven, Proven, prove
from onionmx.authenticate.requirement import NotRequired, Requirement, RequirementError, parse_requirement
from onionmx.authenticate.stream import Authorities
from onionmx.config import Configuration
from onionmx.onion import Endpoint
from onionmx.sync.policy import Verdict
from onionmx.sync.rules import DAY
from onionmx.sync.state.record import DomainRecord, HistoryLine, Proof
from onionmx.tor.socks import SocksConnector

LOOK_AGAIN = 3600.0
"""Seconds until a proof or a requirement that could not be found out is looked for again."""
_RENEW_AFTER = 7 * DAY
"""Seconds after which a proof is made again at the latest: a certificate may have been replaced."""

Show = Callable[[Requirement, tuple[Endpoint, ...]], Awaitable[Proven | NotProven | CouldNotTell]]
"""Has onion MXes show what is required."""


class Asks(Protocol):
    """Finds out what a domain requires; see `Inquiry`."""

    async def requirement_of(self, domain: str, known: Requirement | None = None) -> Said:
        """Find out what a domain requires."""


class Proofs:
    """Keeps requirements and proofs in records up to date.

    Args:
        inquiry: finds out what a domain requires.
        show: has onion MXes show it.
    """

    def __init__(self, inquiry: Asks, show: Show) -> None:
        self._inquiry = inquiry
        self._show = show

    async def look(self, record: DomainRecord, now: float) -> Verdict:
        """Look, as far as it is time to.

        Args:
            record: with an established route.
            now: seconds since 1970.
        """
        known = before = requirement_of(record)
        unknown = ""
        if now >= record.requirement_expires or known is None:
            said = await self._inquiry.requirement_of(record.domain, known)
            match said:
                case Requirement():
                    record = replace(record, requirement=said.to_text(), requirement_expires=said.look_at)
                    known = said
                case NotRequired(_, _, look_at):
                    record = replace(record, requirement="", requirement_expires=look_at, proof=None)
                    known = None
                case CouldNotTell(_, unknown):
                    pass
        verdict = Verdict(record)
        if known is not None:
            is_other = before is None or before.demand != known.demand
            verdict = await self._prove(record, known, now, is_other=is_other)
        if unknown:
            words = f"{verdict.record.decision}; what it demands of its MX could not be told: {unknown}"
            verdict = replace(verdict, record=replace(verdict.record, decision=words))
        return replace(verdict, record=replace(verdict.record, due_at=_due_at(verdict.record, now)))

    async def _prove(self, record: DomainRecord, requirement: Requirement, now: float, *, is_other: bool) -> Verdict:
        endpoints = record.established.endpoints if record.established else ()
        old = record.proof
        kind = str(requirement.demand.kind)
        is_whole = old is not None and set(endpoints) <= set(old.endpoints)
        if old and is_whole and not is_other and old.made_at <= now < _renewal(old):
            return Verdict(record)
        match await self._show(requirement, endpoints):
            case Proven(proven, names, expires, left_out):
                proof = Proof(proven, kind, names, now, expires)
                words = f"{kind}: showed a certificate for {', '.join(names)}"
                is_news = old is None or set(old.endpoints) != set(proven) or old.names != names
                lines = [HistoryLine(record.domain, now, "proven", proven, None, words)] if is_news else []
                decision = "; ".join((record.decision, words, *left_out))
                return Verdict(replace(record, proof=proof, decision=decision), tuple(lines))
            case NotProven(reason):
                words = f"{kind}: {reason}"
                lines = [HistoryLine(record.domain, now, "unproven", endpoints, None, words)]
                is_news = old is not None or words not in record.decision
                decision = f"not routed: {words}"
                return Verdict(replace(record, proof=None, decision=decision), tuple(lines if is_news else ()))
            case CouldNotTell(_, reason):
                return Verdict(replace(record, decision=f"{record.decision}; {kind}: no proof could be had: {reason}"))


class ConfiguredProofs:
    """Proofs as the configuration has them made; what that takes is made ready when it is first needed.

    Args:
        configuration: how policies are fetched, and where Tor is.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._inquiry: Inquiry | None = None
        self._connector: SocksConnector | None = None

    async def look(self, record: DomainRecord, now: float) -> Verdict:
        """See `Proofs.look`."""
        return await self._proofs.look(record, now)

    def close(self) -> None:
        """End all attempts."""
        if self._inquiry:
            self._inquiry.close()
        if self._connector:
            self._connector.close()

    @cached_property
    def _proofs(self) -> Proofs:
        settings = self._configuration.authenticate
        tor = self._configuration.tor
        self._inquiry = Inquiry.from_configuration(self._configuration)
        self._connector = connector = SocksConnector(tor.socks, tor.connect_timeout, tor.user)
        authorities = Authorities(settings.ca_file)
        hello = self._configuration.relay.ehlo_name
        turn = asyncio.Semaphore(settings.concurrency)

        async def show(requirement: Requirement, endpoints: tuple[Endpoint, ...]) -> Proven | NotProven | CouldNotTell:
            async with turn:  # one for each domain, however many onion MXes it has
                return await prove(
                    requirement, endpoints, connector.connect, authorities, hello=hello, timeout=settings.timeout
                )

        return Proofs(self._inquiry, show)


def requirement_of(record: DomainRecord) -> Requirement | None:
    """The requirement in a record; one that cannot be read counts for none, and is found out again."""
    if not record.requirement:
        return None
    try:
        return parse_requirement(record.requirement)
    except RequirementError:
        return None


def _renewal(proof: Proof) -> float:
    return min(proof.made_at + _RENEW_AFTER, (proof.made_at + proof.expires) / 2)


def _due_at(record: DomainRecord, now: float) -> float:
    times = [record.due_at, record.requirement_expires]
    if record.requirement:
        times.append(_renewal(record.proof) if record.proof else 0.0)
    return max(min(times), min(record.due_at, now + LOOK_AGAIN))
