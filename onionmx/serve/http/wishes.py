"""What a client wishes of a page that has several formats: one of them, and only if it has changed. No I/O."""

import re
from enum import StrEnum
from urllib.parse import parse_qsl

from onionmx.domain import shown
from onionmx.errors import InputError


class Format(StrEnum):
    """Formats of the domains."""

    LIST = "list"
    CSV = "csv"
    JSON = "json"

    @property
    def media_type(self) -> str:
        """What Content-Type says (RFC 4180 section 3 for CSV)."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    Format.LIST: "text/plain; charset=utf-8",
    Format.CSV: "text/csv; charset=utf-8; header=present",
    Format.JSON: "application/json",
}
_MOST_FIELDS = 20  # of a query, or of Accept
# RFC 9110 section 8.8.3
_ENTITY_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def format_of(query: str, accept: str) -> Format:
    """The format for a request: what the query says, else what the client likes most, else the list.

    A client that accepts none of them gets the list (RFC 9110 section 12.4.1 lets the server decide).

    Args:
        query: of the target; `format=list`, `csv` or `json` counts, anything else in it does not.
        accept: the field Accept, empty where there is none.

    Raises:
        InputError: the query names another format, or several.
    """
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise InputError(f"the query has more than {_MOST_FIELDS} fields") from error
    named = {value for name, value in fields if name == "format"}
    if not named:
        return _most_liked(accept)
    expected = f"expected one of {', '.join(Format)}"
    if len(named) > 1:
        raise InputError(f"the query names several formats: {expected}")
    (name,) = named
    try:
        return Format(name)
    except ValueError as error:
        raise InputError(f"{shown(name)} is not a format: {expected}") from error


def is_known(entity_tag: str, if_none_match: str) -> bool:
    """Whether the client has what it asks for (RFC 9110 section 13.1.2).

    Args:
        entity_tag: of what it would get, with its quotes.
        if_none_match: the field, empty where there is none.
    """
    return if_none_match.strip() == "*" or entity_tag in _ENTITY_TAG.findall(if_none_match)


def _most_liked(accept: str) -> Format:
    """The first of the formats with the highest weight (RFC 9110 section 12.5.1)."""
    ranges: dict[str, float] = {}
    for part in accept.split(",", _MOST_FIELDS)[:_MOST_FIELDS]:
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        ranges[name] = next((_weight(each[2:]) for each in parameters if each.startswith("q=")), 1.0)
    return max(Format, key=lambda each: _liking(each.media_type.partition(";")[0], ranges))


def _liking(media_type: str, ranges: dict[str, float]) -> float:
    """What the most specific range says of a media type."""
    for name in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0


def _weight(text: str) -> float:
    return float(text) if _WEIGHT.fullmatch(text) else 0.0
