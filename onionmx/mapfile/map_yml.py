"""The community's map.yml: onion -> list of domains (ehloonion/onionmx, sources/map.yml)."""

from collections.abc import Iterator

import yaml

from onionmx.domain import normalize, shown
from onionmx.errors import DomainError, OnionError
from onionmx.mapfile.cdb import COULD_NOT_TELL, DEFERS
from onionmx.mapfile.entries import Entries, Parsed
from onionmx.mapfile.lines import Problem
from onionmx.onion import Endpoint, format_endpoint, is_v2_onion, parse_endpoint


def parse_map_yml(file: str, content: bytes) -> Parsed:
    """Read a map.yml. Its dead v2 onions are reported as ignored.

    A domain that is under several onions gets all of them as targets, in the order of the file.

    Args:
        file: name of the file, for the problems.
        content: YAML.
    """
    problems: list[Problem] = []
    ignored: list[Problem] = []
    entries: dict[str, tuple[Endpoint, ...]] = {}
    try:
        # The node graph rather than the data: it has line numbers, and keeps keys that are written twice.
        root = yaml.compose(content, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        return Parsed({}, (Problem(file, _line_of(error), f"not YAML: {_first_line(error)}"),))
    for onion_node, domain_nodes in _pairs(file, root, problems):
        if is_v2_onion(onion_node.value):
            ignored.append(_problem(file, onion_node, f"{onion_node.value} is a dead version 2 onion"))
            continue
        try:
            endpoint = _endpoint(onion_node.value)
        except OnionError as error:
            problems.append(_problem(file, onion_node, str(error)))
            continue
        for node in domain_nodes:
            try:
                domain = normalize(node.value)
            except DomainError as error:
                problems.append(_problem(file, node, str(error)))
                continue
            others = entries.get(domain, ())
            if endpoint in others:
                problems.append(_problem(file, node, f"{domain} is twice under {onion_node.value}"))
            elif others == DEFERS or (others and endpoint in DEFERS):
                problems.append(_problem(file, node, f"{domain} is under {COULD_NOT_TELL} and under an onion"))
            else:
                entries[domain] = (*others, endpoint)
    return Parsed(entries, tuple(problems), tuple(ignored))


def format_map_yml(entries: Entries) -> str:
    """Write a map.yml; the order of several targets for a domain is the order in which their onions appear."""
    domains: dict[str, list[str]] = {}
    for domain, endpoints in entries.items():
        for endpoint in endpoints:
            domains.setdefault(format_endpoint(endpoint), []).append(domain)
    return yaml.safe_dump(domains, explicit_start=True, sort_keys=False) if domains else "--- {}\n"


def _endpoint(text: str) -> Endpoint:
    return DEFERS[0] if text == COULD_NOT_TELL else parse_endpoint(text)


def _pairs(
    file: str, root: yaml.Node | None, problems: list[Problem]
) -> Iterator[tuple[yaml.ScalarNode, list[yaml.ScalarNode]]]:
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        problems.append(_problem(file, root, "expected a mapping from onions to lists of domains"))
        return
    for key, value in root.value:
        if not isinstance(key, yaml.ScalarNode):
            problems.append(_problem(file, key, "expected an onion as the key"))
        elif not isinstance(value, yaml.SequenceNode) or not all(
            isinstance(node, yaml.ScalarNode) for node in value.value
        ):
            problems.append(_problem(file, value, f"expected a list of domains under {shown(key.value)}"))
        else:
            yield key, value.value


def _problem(file: str, node: yaml.Node, message: str) -> Problem:
    return Problem(file, node.start_mark.line + 1, message)


def _line_of(error: Exception) -> int:
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark else 1


def _first_line(error: Exception) -> str:
    return getattr(error, "problem", None) or str(error).partition("\n")[0]
