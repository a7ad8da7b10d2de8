"""Plain files made of the map for MTAs that cannot read it, and the templates of their lines."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from onionmx.config.section import Section
from onionmx.domain import shown

FIELDS = ("domain", "onion", "port", "targets")
"""What a template may name: the domain, the first of its targets, and all of them as the map has them."""
DOMAIN_ALONE = "{domain}"
Labels = Literal["ascii", "unicode", "both"]
BOUNCES = (
    "an MTA with a list that is older or newer than the map hands over mail for domains without a route, and "
    'relay.unrouted = "reject" has it bounced: expected "defer"'
)
"""Why lists and a relay that rejects do not go together."""

_PIECE = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<text>[^{}]+)")
_UNDER_ONION = re.compile(r"[!-~]*onion[!-~]*")
_OWN_NAMES = frozenset({"announced", "cache", "deliveries", "fallback", "policies", "setup", "watch"})
_OWN_SUFFIXES = (".cdb", ".json", ".lock", ".prom", ".sock", ".sqlite", "-journal")


@dataclass(frozen=True, slots=True)
class Template:
    """The form of a line.

    Attributes:
        pieces: texts, and names of fields, each with whether it is a field.
    """

    pieces: tuple[tuple[str, bool], ...]

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields in it."""
        return frozenset(text for text, is_field in self.pieces if is_field)

    def fill(self, values: Mapping[str, str]) -> str:
        """The line.

        Args:
            values: of its fields at least.
        """
        return "".join(values[text] if is_field else text for text, is_field in self.pieces)


def parse_template(text: str) -> Template:
    """Read a template such as `{domain}:[127.0.0.1],10025`; `{{` and `}}` are braces.

    Raises:
        ValueError: it is empty, has no field or an unknown one, a brace alone, or a character that cannot be printed.
    """
    if not text:
        raise ValueError(f"the template is empty: expected a line such as {DOMAIN_ALONE}")
    if not text.isprintable():
        raise ValueError(f"template {shown(text)} has a line break or another character that cannot be printed")
    pieces: list[tuple[str, bool]] = []
    position = 0
    while position < len(text):
        match = _PIECE.match(text, position)
        if match is None:
            raise ValueError(
                f"template {shown(text)} has a brace alone at character {position + 1}: {{{{ and }}}} are braces"
            )
        if (field := match["field"]) is not None and field not in FIELDS:
            raise ValueError(f"template {shown(text)} has the field {shown(field)}: expected {', '.join(FIELDS)}")
        pieces.append((match["brace"][0] if match["brace"] else field or match["text"], field is not None))
        position = match.end()
    template = Template(tuple(pieces))
    if not template.fields:
        raise ValueError(f"template {shown(text)} has no field: expected {DOMAIN_ALONE} at least")
    return template


class Export(Section, frozen=True):
    """A plain file made of the map: a line for each domain, those included whose mail has to wait."""

    path: str
    template: str = DOMAIN_ALONE
    labels: Labels = "ascii"
    under_onion: str = ""

    def __post_init__(self) -> None:
        """Refuse a template that cannot be filled in."""
        fields = parse_template(self.template).fields
        if not self.under_onion:
            return
        if not _UNDER_ONION.fullmatch(self.under_onion):
            raise ValueError(
                f"{shown(self.under_onion)} does not say how the MTA names all that is under .onion: "
                "expected such as .onion or *.onion"
            )
        if fields - {"domain"}:
            raise ValueError(
                f"template {shown(self.template)} needs a target, and all that is under .onion has none: leave out "
                "under_onion, or all fields but {domain}"
            )


def check_places(exports: Iterable[Export], map_path: str) -> None:
    """Make sure that each export is a file of its own beside the map.

    Raises:
        ValueError: one is not.
    """
    beside = PurePath(map_path)
    taken: set[PurePath] = set()
    for export in exports:
        path = PurePath(export.path)
        if not (export.path.isprintable() and path.name and ".." not in path.parts and path.parent == beside.parent):
            raise ValueError(f"exports: {shown(export.path)} is not a file in the folder of the map, {beside.parent}")
        if path.name.startswith((".", beside.name)) or path.name in _OWN_NAMES or path.name.endswith(_OWN_SUFFIXES):
            raise ValueError(
                f"exports: {path} has the name of a file of onionmx itself: choose another, such as domains.txt"
            )
        if path in taken:
            raise ValueError(f"exports: {path} is named twice")
        taken.add(path)
