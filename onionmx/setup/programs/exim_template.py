"""Debian's two ways to write Exim's configuration: files in conf.d, and the template made of them; texts only."""

import re
from collections.abc import Mapping

from onionmx.errors import ConfigurationError
from onionmx.setup.programs.blocks import inserted, split

SECTIONS = ("main", "acl", "router", "transport", "retry", "rewrite", "auth")
"""In the order in which update-exim4.conf joins their files."""
_HEAD = re.compile(r"### ([a-z]+)/([A-Za-z0-9_-]+)\s*\n?$")
_RULE = re.compile(r"#{20,}\s*\n?$")
_TAKEN = re.compile(r"[A-Za-z0-9_-]+$")


def says_the_same(confd: Mapping[str, str], template: str) -> bool:
    """Whether the files in conf.d and the template make the same configuration, comments left out.

    Args:
        confd: texts by section and name.
        template: with the local macros in front.
    """
    names = [name for name in confd if _TAKEN.match(name.partition("/")[2])]
    whole = "\n".join(confd[name] for section in SECTIONS for name in sorted(names) if name.startswith(f"{section}/"))
    return _meaning(whole) == _meaning(template)


def _meaning(text: str) -> list[str]:
    return [line.rstrip() for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]


def inserted_fragments(template: str, fragments: Mapping[str, str]) -> str:
    """The template with a block for each fragment, where its name sorts among those of its section.

    Args:
        template: each part begins with `### SECTION/NAME`, as Debian's does.
        fragments: texts by section and name.

    Raises:
        ConfigurationError: there is no such part to put a fragment before.
    """
    # From the end to the start, so that the numbers of the lines before stay as they are.
    places = [(_place(split(template), *name.split("/")), name) for name in fragments]
    for place, name in sorted(places, reverse=True):
        text = fragments[name]
        template = inserted(template, place, text if text.endswith("\n") else f"{text}\n")
    return template


def _place(lines: list[str], section: str, name: str) -> int:
    for number, line in enumerate(lines):
        head = _HEAD.match(line)
        if head and head[1] == section and head[2] > name:
            return number - 1 if number and _RULE.match(lines[number - 1]) else number
    raise ConfigurationError(
        f"exim4.conf.template has no part '### {section}/...' behind {name}: set dc_use_split_config='true', or put "
        "the fragments in by hand (exim/README.md)"
    )
