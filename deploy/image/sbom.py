"""What the image is made of, as CycloneDX: Debian's packages, and the Python packages inside that of onionmx.

    python3 -m deploy.image.sbom IMAGE PACKAGES

IMAGE is the folder with the root of the image, PACKAGES a file with lines `name version architecture`.
SOURCE_DATE_EPOCH is the date. No package but Python's own is needed.
"""

import os
import sys
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import quote

from release.cyclonedx import Component, component, document

OWN = "onionmx"


def bill(image: Path, packages: str, seconds: int) -> str:
    """The bill of materials.

    Args:
        image: root of the image.
        packages: of Debian, a line each; onionmx is one of them.
        seconds: since the epoch, its date.

    Raises:
        ValueError: a line is of another form, or onionmx is not there.
    """
    release = _codename(image / "etc/os-release")
    found = [_debian(*line.split(), release=release) for line in sorted(packages.splitlines())]
    own = [each for each in found if each["name"] == OWN]
    if len(own) != 1:
        raise ValueError(f"the image has {len(own)} packages of the name {OWN}")
    subject = own[0] | {"type": "container"}
    (folder,) = image.glob("usr/lib/onionmx/lib/python3.*/site-packages")
    python = {each.name: each.version for each in distributions(path=[str(folder)]) if each.name != OWN}
    libraries = [component(name, python[name], f"pkg:pypi/{name.lower()}@{python[name]}") for name in sorted(python)]
    return document(subject, [*(each for each in found if each is not own[0]), *libraries], seconds)


def _debian(name: str, version: str, architecture: str, *, release: str) -> Component:
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe=':')}?arch={architecture}&distro={release}"
    return component(name, version, purl)


def _codename(path: Path) -> str:
    lines = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    return lines["VERSION_CODENAME"].strip('"')


if __name__ == "__main__":
    sys.stdout.write(bill(Path(sys.argv[1]), Path(sys.argv[2]).read_text(), int(os.environ["SOURCE_DATE_EPOCH"])))
