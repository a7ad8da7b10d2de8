"""What a release is made of, as CycloneDX 1.5 (https://cyclonedx.org/docs/1.5/json/): onionmx and all that it runs on.

The same versions give the same bytes.
"""

import json
import tomllib
from collections import deque
from datetime import UTC, datetime
from importlib.metadata import Distribution, distribution
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


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
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, json.dumps([own, components]))}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": about["name"],
                "version": version,
                "purl": own,
                "licenses": [{"license": {"id": about["license"]}}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": reference, "dependsOn": sorted(_reference(n, needed[n].version) for n in _names(lines))}
            for reference, lines in sorted(edges.items())
        ],
    }
    return json.dumps(document, indent=2) + "\n"


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


def _component(found: Distribution) -> dict[str, str]:
    reference = _reference(found.name, found.version)
    return {"type": "library", "bom-ref": reference, "name": found.name, "version": found.version, "purl": reference}
