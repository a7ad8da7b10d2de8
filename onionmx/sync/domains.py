"""Lists of domains to look up."""

from collections.abc import Iterable

from onionmx.domain import normalize
from onionmx.errors import ConfigurationError, DomainError
from onionmx.mapfile.lines import Problem, described, read_lines


def read_domains(lists: Iterable[tuple[str, bytes]]) -> list[str]:
    """Read lists with one domain a line; a domain that stands in them twice counts once.

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
