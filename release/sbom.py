"""What a release is made of, as CycloneDX 1.5 (https://cyclonedx.org/docs/1.5/json/): onionmx and all that it runs on.

The same versions give the same bytes.
"""

import tomllib
from collections import deque
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .cyclonedx import Component, component, document


def sbom(project: Path, version: str, seconds: int) -> str:
    """The bill of materials, as JSON.

    Args:
        project: the folder with pyproject.toml, which names what onionmx needs. The versions are those installed here.
        version: of onionmx.
        seconds: since the epoch, the time of the release.

    Raises:
        importlib.metadata.PackageNotFoundError: something that it needs is not installed here.
    """
    with (project / "pyproject.toml").open("rb") as file:
        about = tomllib.load(file)["project"]
    needed = _closure(about["dependencies"])
    own = _reference(about["name"], version)
    components = [_component(found) for _, found in sorted(needed.items())]
    edges = {own: about["dependencies"]} | {_reference(n, d.version): d.requires or [] for n, d in needed.items()}
    licences = [{"license": {"id": about["license"]}}]
    subject = component(about["name"], version, own, "application") | {"licenses": licences}
    dependencies = [
        {"ref": reference, "dependsOn": sorted(_reference(n, needed[n].version) for n in _names(lines))}
        for reference, lines in sorted(edges.items())
    ]
    return document(subject, components, seconds, dependencies)


def _closure(requirements: list[str]) -> dict[str, Distribution]:
    """All distributions that these need, directly or not, by normalized name."""
    found: dict[str, Distribution] = {}
    left = deque(_names(requirements))
    while left:
        name = left.popleft()
        if name not in found:
            found[name] = distribution(name)
            left.extend(_names(found[name].requires or []))
    return found


def _names(lines: list[str]) -> list[str]:
    requirements = map(Requirement, lines)
    return sorted({canonicalize_name(requirement.name) for requirement in requirements if _applies(requirement)})


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _reference(name: str, version: str) -> str:
    """A package URL (https://github.com/package-url/purl-spec)."""
    return f"pkg:pypi/{canonicalize_name(name)}@{version}"


def _component(found: Distribution) -> Component:
    return component(found.name, found.version, _reference(found.name, found.version))
