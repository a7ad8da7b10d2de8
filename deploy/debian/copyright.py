"""The copyright file (DEP-5): onionmx, and each package that the private environment carries."""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

COMMON = {
    "Apache": "Apache-2.0",
    "LGPL": "LGPL-3",
    "GNU LESSER GENERAL PUBLIC LICENSE": "LGPL-3",
    "MPL": "MPL-2.0",
}
"""Words in the name of a licence, and where Debian keeps its text below /usr/share/common-licenses."""
HOLDER = re.compile(r"^[^\w\n]*(?:Copyright|©)(?!.*Free Software Foundation).*\d{4}.*", re.IGNORECASE | re.MULTILINE)
HEAD = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: onionmx
Comment: The packages below usr/lib/onionmx are those of the Python Package Index. Their extension modules hold
 OpenSSL and Rust crates (cryptography; *.dist-info/sboms lists them) and libuv (uvloop).

Files: *
Copyright: The onionmx developers
License: Apache-2.0
"""


def copyright_file(packages: Path, prefix: str) -> str:
    """The text of the file.

    Args:
        packages: the site-packages folder, as pip left it.
        prefix: where it will be, without the slash at the front.
    """
    others = [each for each in distributions(path=[str(packages)]) if each.name != "onionmx"]
    paragraphs = [_paragraph(each, prefix) for each in sorted(others, key=lambda each: each.name.lower())]
    return HEAD + _indented(_pointer("Apache-2.0")) + "".join(f"\n{each}" for each in paragraphs)


def _paragraph(distribution: Distribution, prefix: str) -> str:
    texts = list(_licence_texts(distribution))
    metadata = distribution.metadata
    authors = [metadata[key] for key in ("Author", "Author-email", "Maintainer-email") if key in metadata]
    holders = [line.strip(" \t*#") for text in texts for line in HOLDER.findall(text)] or [
        f"the authors: {' '.join(authors)}"
    ]
    name = _licence_name(distribution)
    common = [where for word, where in COMMON.items() if word.lower() in name.lower()]
    plain = [text for text in texts if not re.search("GNU|Apache License|Mozilla", text)]
    body = "\n\n".join((*plain, *(_pointer(where) for where in dict.fromkeys(common)))) or f"See {metadata['Name']}."
    files = "\n ".join(f"{prefix}/{top}" for top in _tops(distribution))
    copyrights = "\n ".join(dict.fromkeys(holders))
    return f"Files: {files}\nCopyright: {copyrights}\nLicense: {name}\n{_indented(body)}"


def _tops(distribution: Distribution) -> list[str]:
    """Its folders and files directly below site-packages; scripts are left out."""
    tops = {path.parts[0] + ("/*" if len(path.parts) > 1 else "") for path in distribution.files or ()}
    return sorted(top for top in tops if not top.startswith(("..", "__pycache__")))


def _licence_name(distribution: Distribution) -> str:
    metadata = distribution.metadata
    stated = next((metadata[key] for key in ("License-Expression", "License") if key in metadata), "")
    if not stated or "\n" in stated:
        classifiers = metadata.get_all("Classifier") or []
        stated = " and ".join(each.rsplit(" :: ", 1)[1] for each in classifiers if each.startswith("License ::"))
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", stated.replace(" OR ", " or ").replace(" AND ", " and ")).strip("-")


def _licence_texts(distribution: Distribution) -> Iterator[str]:
    for path in sorted(distribution.files or (), key=str):
        if ".dist-info" in path.parts[0] and re.match(r"(?i)(licen[cs]e|copying|notice)", path.name):
            yield path.read_text(encoding="utf-8")


def _pointer(licence: str) -> str:
    return f"On Debian systems its text is in /usr/share/common-licenses/{licence}."


def _indented(text: str) -> str:
    return "".join(f" {line.rstrip() or '.'}\n" for line in text.strip().expandtabs().splitlines())
