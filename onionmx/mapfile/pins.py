"""Pins, and the seed format, which has `could-not-tell.onion` where pins may have `none`.

# comment
example.org  <56 characters>.onion
example.net  <56 characters>.onion:2525 <56 characters>.onion
example.com  none
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from onionmx.answer import Answer, Found, NoRoute, Unroutable
from onionmx.domain import normalize
from onionmx.errors import ConfigurationError, DomainError, OnionError
from onionmx.files import read_configured
from onionmx.mapfile.cdb import COULD_NOT_TELL, DEFERS, format_value
from onionmx.mapfile.entries import Entries, Parsed
from onionmx.mapfile.lines import FirstLines, Problem, described, read_lines
from onionmx.onion import Endpoint, is_for_tor_alone, parse_endpoint
from onionmx.target import Route, Source, Trust, targets_of

NEVER = "none"
"""Written in place of the onions: mail for this domain never goes over Tor."""


def parse_pins(file: str, content: bytes) -> Parsed:
    """Read pins; a domain pinned to `none` has no endpoints.

    Args:
        file: name of the file, for the problems.
        content: UTF-8 text.
    """
    return _parse(file, content, {NEVER: ()})


def read_pins(path: Path, *, may_be_missing: bool) -> dict[str, tuple[Endpoint, ...]]:
    """Read the file of pins.

    Raises:
        ConfigurationError: missing, unreadable, or a line cannot be used; all such lines are named.
    """
    parsed = parse_pins(str(path), read_configured(path, "sync.pins", may_be_missing=may_be_missing))
    if parsed.problems:
        raise ConfigurationError(described(parsed.problems))
    return parsed.entries


def pinned_answer(domain: str, endpoints: tuple[Endpoint, ...]) -> Answer:
    """The answer that a pin gives."""
    if not endpoints:
        return (Unroutable if is_for_tor_alone(domain) else NoRoute)(domain, "pinned to none")
    return Found(Route(domain, targets_of(endpoints), Source.PIN, Trust.PINNED))


def parse_seed(file: str, content: bytes) -> Parsed:
    """Read `domain onion` lines, the input of `cdb -c -m` in the community's recipes; some have `DEFERS`.

    Args:
        file: name of the file, for the problems.
        content: UTF-8 text.
    """
    return _parse(file, content, {COULD_NOT_TELL: DEFERS})


def format_seed(entries: Entries) -> str:
    """Write `domain onion[:port]...` lines."""
    return "".join(f"{domain} {format_value(endpoints).decode()}\n" for domain, endpoints in entries.items())


def _parse(file: str, content: bytes, special: Mapping[str, tuple[Endpoint, ...]]) -> Parsed:
    problems: list[Problem] = []
    entries: dict[str, tuple[Endpoint, ...]] = {}
    first_lines = FirstLines(file, problems)
    for line in read_lines(file, content, problems):
        try:
            domain = normalize(line.words[0])
            words = line.words[1:]
            known = special.get(words[0].lower()) if len(words) == 1 else None
            endpoints = _parse_endpoints(domain, words) if known is None else known
        except (DomainError, OnionError) as error:
            problems.append(Problem(file, line.number, str(error)))
            continue
        if first_lines.add(domain, line.number):
            entries[domain] = endpoints
    return Parsed(entries, tuple(problems))


def _parse_endpoints(domain: str, words: Sequence[str]) -> tuple[Endpoint, ...]:
    if not words:
        raise OnionError(f"{domain} has no onion: expected `domain onion[:port] [onion[:port]...]`")
    endpoints = tuple(map(parse_endpoint, words))
    if len(set(endpoints)) != len(endpoints):
        raise OnionError(f"{domain} names the same onion and port twice")
    return endpoints
