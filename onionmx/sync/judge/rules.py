"""What the configuration says about belief and time, for one domain."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from onionmx.config.sync import SyncSection
from onionmx.defaults import DAY
from onionmx.domain import normalize, shown
from onionmx.errors import ConfigurationError, DomainError
from onionmx.files import read_configured
from onionmx.mapfile.lines import FirstLines, Problem, described, read_lines


class TrustPolicy(StrEnum):
    """Which records are believed."""

    DNSSEC = "dnssec"
    """Signed ones only."""
    TOFU = "tofu"
    """The first one, signed changes at once, unsigned ones after some time or by hand."""
    ANY = "any"
    """Every one."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Trust and times for one domain; all times in seconds.

    Attributes:
        belief: which records are believed.
        hold: for which an unsigned change must be seen steadily.
        hold_removal: the same for the end of a record.
        max_stale: for which a route stays while DNS does not answer.
        min_interval: until the next question, at least.
        negative_interval: the same where there is no record.
        max_interval: the same, at most.
        authenticates: an onion MX of an unsigned record must prove itself where the domain demands it.
    """

    belief: TrustPolicy = TrustPolicy.TOFU
    hold: float = 3 * DAY
    hold_removal: float = 2 * DAY
    max_stale: float = 30 * DAY
    min_interval: float = 3600.0
    negative_interval: float = DAY
    max_interval: float = 7 * DAY
    authenticates: bool = True


RulesOf = Callable[[str], Rules]
"""The rules for a domain in normal form."""


def make_rules(settings: SyncSection, exceptions: Mapping[str, TrustPolicy], *, authenticates: bool) -> RulesOf:
    """Rules as the configuration has them.

    Args:
        settings: the default for all domains.
        exceptions: domains of which other records are believed.
        authenticates: whether proofs are asked for at all.
    """
    every = {
        belief: Rules(
            belief,
            settings.hold * DAY,
            settings.hold_removal * DAY,
            settings.max_stale_days * DAY,
            settings.min_interval,
            settings.negative_interval,
            settings.max_interval,
            authenticates,
        )
        for belief in TrustPolicy
    }
    default = TrustPolicy(settings.trust)
    return lambda domain: every[exceptions.get(domain, default)]


def read_beliefs(path: Path, *, may_be_missing: bool) -> dict[str, TrustPolicy]:
    """Read the file of `domain dnssec|tofu|any` lines.

    Raises:
        ConfigurationError: missing, unreadable, or a line cannot be used; all such lines are named.
    """
    content = read_configured(path, "sync.trust_of", may_be_missing=may_be_missing)
    problems: list[Problem] = []
    beliefs = _parse(str(path), content, problems)
    if problems:
        raise ConfigurationError(described(problems))
    return beliefs


def _parse(file: str, content: bytes, problems: list[Problem]) -> dict[str, TrustPolicy]:
    beliefs: dict[str, TrustPolicy] = {}
    first_lines = FirstLines(file, problems)
    known = {str(belief): belief for belief in TrustPolicy}
    for line in read_lines(file, content, problems):
        try:
            domain = normalize(line.words[0])
        except DomainError as error:
            problems.append(Problem(file, line.number, str(error)))
            continue
        belief = known.get(" ".join(line.words[1:]).lower())
        if belief is None:
            what = shown(" ".join(line.words))
            problems.append(Problem(file, line.number, f"{what}: expected `domain`, then {', '.join(known)}"))
        elif first_lines.add(domain, line.number):
            beliefs[domain] = belief
    return beliefs
