"""The words of a structured field (RFC 5322 section 3.2): comments, quoted strings, literals, separators; no I/O.

Fields come from strangers: whatever is in one, it is read to its end in one pass, and nothing is raised.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

MAX_FIELD = 4096
"""Characters of a field that are read; the rest is left aside."""

_SAFE = re.compile(r"[^A-Za-z0-9._:@+=\[\]-]")


class Word(NamedTuple):
    """A piece of a field; comments and quoted strings without what encloses them."""

    kind: Literal["word", "quoted", "comment", "literal", "separator"]
    text: str


def words(field: str, separators: str) -> Iterator[Word]:
    """The words of a field, in order.

    Args:
        field: unfolded or not; at most `MAX_FIELD` characters of it are read.
        separators: characters that are words of their own.
    """
    field = field[:MAX_FIELD]
    at = 0
    while at < len(field):
        one = field[at]
        if one.isspace():
            at += 1
        elif one in separators:
            yield Word("separator", one)
            at += 1
        elif one == "(":
            at, text = _comment(field, at + 1)
            yield Word("comment", text)
        elif one == '"':
            at, text = _quoted(field, at + 1)
            yield Word("quoted", text)
        elif one == "[":
            end = field.find("]", at)
            end = len(field) if end < 0 else end
            yield Word("literal", field[at + 1 : end])
            at = end + 1
        else:
            end = at + 1
            while end < len(field) and not field[end].isspace() and field[end] not in f'("[{separators}':
                end += 1
            yield Word("word", field[at:end])
            at = end


def _comment(field: str, at: int) -> tuple[int, str]:
    """Where a comment ends, and its text; comments in it are part of it. One that is not closed ends with the field."""
    depth = 1
    text: list[str] = []
    while at < len(field):
        one = field[at]
        if one == "\\":
            at += 1
        elif one in "()":
            depth += 1 if one == "(" else -1
            if not depth:
                return at + 1, "".join(text)
        text.append(field[at : at + 1])
        at += 1
    return at, "".join(text)


def _quoted(field: str, at: int) -> tuple[int, str]:
    text: list[str] = []
    while at < len(field):
        if field[at] == '"':
            return at + 1, "".join(text)
        if field[at] == "\\":
            at += 1
        text.append(field[at : at + 1])
        at += 1
    return at, "".join(text)


def name(text: str, most: int = 255) -> str:
    """What of a text can be in the name of a host, an address, a protocol or a value: no prose, and no link."""
    return _SAFE.sub("", text)[:most]
