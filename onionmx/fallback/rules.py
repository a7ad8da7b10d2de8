"""The file of rules: which domains are released to the open internet, and after how long a failure.

# comment
example.org after 12h
* after 2d
example.net never
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onionmx.defaults import DAY, HOUR, MINUTE
from onionmx.domain import Domain, normalize, shown
from onionmx.errors import ConfigurationError, DomainError
from onionmx.files import read_configured
from onionmx.mapfile.lines import FirstLines, Line, Problem, described, read_lines
from onionmx.onion import is_for_tor_alone

EVERY = "*"
"""Written in place of a domain: all that have no line of their own."""
_UNITS = {"m": MINUTE, "h": HOUR, "d": DAY}
_TIME = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_LONGEST = 365 * DAY
_EXPECTED = "expected `DOMAIN after 12h` (m, h or d; * for all other domains) or `DOMAIN never`"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the file says.

    Attributes:
        domains: seconds of failure after which a domain is released; `None` for never.
        others: the same for all that are not among them.
    """

    domains: Mapping[Domain, float | None] = field(default_factory=dict)
    others: float | None = None

    def __bool__(self) -> bool:
        """Whether any domain may be released."""
        return self.others is not None or any(after is not None for after in self.domains.values())

    def after(self, domain: Domain) -> float | None:
        """Seconds of failure after which a domain is released; `None` for never."""
        if is_for_tor_alone(domain):
            return None
        return self.domains.get(domain, self.others)


def parse_rules(file: str, content: bytes) -> tuple[Rules, tuple[Problem, ...]]:
    """Read the content of the file; with problems, the rules are not to be used.

    Args:
        file: its name, for the problems.
        content: UTF-8 text.
    """
    problems: list[Problem] = []
    domains: dict[str, float | None] = {}
    first_lines = FirstLines(file, problems)
    for line in read_lines(file, content, problems):
        try:
            domain, after = _parse_line(line)
        except DomainError as error:
            problems.append(Problem(file, line.number, str(error)))
            continue
        if first_lines.add(domain, line.number):
            domains[domain] = after
    others = domains.pop(EVERY, None)
    return Rules(domains, others), tuple(problems)


def read_rules(path: Path) -> Rules:
    """Read the file; where there is none, nothing is ever released.

    Raises:
        ConfigurationError: unreadable, or a line cannot be used; all such lines are named.
    """
    rules, problems = parse_rules(str(path), read_configured(path, "fallback.rules", may_be_missing=True))
    if problems:
        raise ConfigurationError(described(problems))
    return rules


def _parse_line(line: Line) -> tuple[str, float | None]:
    match line.words:
        case (name, "never"):
            return _domain(name), None
        case (name, "after", time):
            return _domain(name), _seconds(time)
    raise DomainError(f"{shown(' '.join(line.words))} is not a rule: {_EXPECTED}")


def _domain(name: str) -> str:
    if name == EVERY:
        return EVERY
    domain = normalize(name)
    if is_for_tor_alone(domain):
        raise DomainError(f"{shown(name)} is a name under .onion: its mail never goes over the open internet")
    return domain


def _seconds(text: str) -> float:
    match = _TIME.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= _LONGEST:
        raise DomainError(f"{shown(text)} is not a time: expected a number with m, h or d, such as 12h, at most 365d")
    return seconds
