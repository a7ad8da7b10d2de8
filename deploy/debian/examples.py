"""Examples for Postfix, taken from the documents, where the tests run them."""

import re
from collections.abc import Iterator
from pathlib import Path

BLOCK = re.compile(
    r"^#+ (?P<section>.+)$|^In `/etc/postfix/(?P<file>main\.cf|master\.cf)`:\n\n(?P<lines>(?: {4}.*\n|\n)+)",
    re.MULTILINE,
)
SOURCES = {"send": "postfix.md", "receive": "receiving.md"}


def postfix_examples(documents: Path) -> Iterator[tuple[str, str]]:
    """Names, such as `send/main.cf`, and contents: all blocks for a file, each under the title of its section."""
    for folder, source in SOURCES.items():
        found: dict[str, str] = {}
        section = ""
        for match in BLOCK.finditer((documents / source).read_text()):
            section = match["section"] or section
            if file := match["file"]:
                lines = re.sub("^ {4}", "", match["lines"].strip("\n"), flags=re.MULTILINE)
                found.setdefault(file, f"# Lines for /etc/postfix/{file}; {source} says what they are for.\n")
                found[file] += f"\n# {section}\n{lines}\n"
        for file, content in found.items():
            yield f"{folder}/{file}", content
