"""The content of a map as a value, whatever format it came from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onionmx.mapfile.lines import Problem
from onionmx.onion import Endpoint

Entries = Mapping[str, tuple[Endpoint, ...]]
"""Domains in normal form with their endpoints in route order."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a parser read.

    Attributes:
        entries: in the order of the file.
        problems: lines that cannot be used; an import of the file has to refuse it.
        ignored: lines that are in order but have no place in a map, such as dead v2 onions.
    """

    entries: dict[str, tuple[Endpoint, ...]]
    problems: tuple[Problem, ...] = ()
    ignored: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """How the entry of one domain differs between two maps; `None` means no entry."""

    domain: str
    old: tuple[Endpoint, ...] | None
    new: tuple[Endpoint, ...] | None


def differences(old: Entries, new: Entries) -> Iterator[Difference]:
    """Domains whose entries differ, in alphabetical order."""
    for domain in sorted(old.keys() | new.keys()):
        if old.get(domain) != new.get(domain):
            yield Difference(domain, old.get(domain), new.get(domain))
