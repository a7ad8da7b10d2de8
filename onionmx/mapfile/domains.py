"""Lists of domains."""

from collections.abc import Iterable
from pathlib import Path

from onionmx.answer import NoRoute
from onionmx.config import LocalSection
from onionmx.domain import normalize
from onionmx.errors import ConfigurationError, DomainError
from onionmx.files import read_configured
from onionmx.mapfile.lines import Problem, described, read_lines


def read_domains(lists: Iterable[tuple[str, bytes]]) -> list[str]:
    """Read lists with one domain a line; a domain that is in them twice counts once.

    Args:
        lists: names and contents of the files.

    Returns:
        The domains in normal form, in the order of their first appearance.

    Raises:
        ConfigurationError: a line cannot be used; all of them are named. A list is used whole or not at all,
            because a domain that is missing from it would be removed from the map.
    """
    problems: list[Problem] = []
    domains: dict[str, None] = {}
    for name, content in lists:
        for line in read_lines(name, content, problems):
            if len(line.words) > 1:
                problems.append(Problem(name, line.number, f"{len(line.words)} words: expected one domain a line"))
                continue
            try:
                domains[normalize(line.words[0])] = None
            except DomainError as error:
                problems.append(Problem(name, line.number, str(error)))
    if problems:
        raise ConfigurationError(described(problems))
    return list(domains)


def read_local_domains(settings: LocalSection) -> frozenset[str]:
    """The mail domains of this host, in normal form.

    Args:
        settings: which they are, and the file with more of them.

    Raises:
        ConfigurationError: the file cannot be read, or a domain cannot be used.
    """
    lists = [("local.domains", "\n".join(settings.domains).encode())]
    if settings.file:
        lists.append((settings.file, read_configured(Path(settings.file), "local.file")))
    return frozenset(read_domains(lists))


def local_answer(domain: str) -> NoRoute:
    """What there is to say of the route of a domain of this host: mail for it must not go round through Tor."""
    return NoRoute(domain, "local domain: this host receives its mail itself")
