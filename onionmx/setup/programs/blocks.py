"""Marked blocks in the files of others: put in, found again, and taken out without a trace; no I/O.

A block takes the place of lines by keeping them as comments within it. So the text alone is enough to take all blocks
out again, byte for byte, whatever somebody else has changed around them since.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from onionmx.errors import ConfigurationError

BEGIN = "# >>> onionmx setup >>>"
BEGIN_UNENDED = "# >>> onionmx setup, after a last line without an end >>>"
END = "# <<< onionmx setup <<<"
KEPT = "# was: "
_BEGINNINGS = (BEGIN, BEGIN_UNENDED)
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Lines, with their ends, of one block, marks included, or between two."""

    lines: tuple[str, ...]
    is_block: bool


def appended(text: str, body: str) -> str:
    """A text with a block at its end.

    Args:
        text: may have blocks already.
        body: whole lines.
    """
    ended, begin = _ended(text)
    return ended + _block(begin, "", body)


def inserted(text: str, line: int, body: str) -> str:
    """A text with a block before a line.

    Args:
        text: may have blocks already.
        line: number from 0; that of the last line plus one appends.
        body: whole lines.
    """
    lines = split(text)
    if line >= len(lines):
        return appended(text, body)
    return "".join([*lines[:line], _block(BEGIN, "", body), *lines[line:]])


def replaced(text: str, first: int, after: int, body: str) -> str:
    """A text in which a block replaces some lines; the block keeps them as comments.

    Args:
        text: may have blocks already, but not in these lines.
        first: the first line to be replaced, from 0.
        after: the line behind the last one.
        body: whole lines.
    """
    ended, begin = _ended(text)
    lines = split(ended)
    if after < len(lines):
        begin = BEGIN
        lines = split(text)
    kept = "".join(KEPT + line for line in lines[first:after])
    return "".join([*lines[:first], _block(begin, kept, body), *lines[after:]])


def stripped(text: str, name: str = "") -> str:
    """A text as it was before its blocks, with all that others have changed outside of them.

    Args:
        text: with or without blocks.
        name: of the file, for the message.

    Raises:
        ConfigurationError: a mark has no partner, so it is not known where the block ends.
    """
    result: list[str] = []
    unended = False
    for piece in _pieces(text, name):
        if piece.is_block:
            unended = unended or piece.lines[0].rstrip("\n") == BEGIN_UNENDED
            result += [line.removeprefix(KEPT) for line in piece.lines if line.startswith(KEPT)]
        else:
            result += piece.lines
            unended = False  # somebody has written on behind it
    whole = "".join(result)
    return whole.removesuffix("\n") if unended else whole


def blocks(text: str, name: str = "") -> list[str]:
    """The blocks of a text, marks included.

    Raises:
        ConfigurationError: a mark has no partner.
    """
    return ["".join(piece.lines) for piece in _pieces(text, name) if piece.is_block]


def substance(text: str, name: str = "") -> str:
    """What all blocks of a text say, wherever they are; empty for no blocks.

    Raises:
        ConfigurationError: a mark has no partner.
    """
    return "".join(sorted(map(_unmarked, blocks(text, name))))


def settled(current: str, wanted: str, name: str = "") -> str:
    """The wanted text, or the current one where that has the same blocks, in places that somebody chose since.

    Raises:
        ConfigurationError: a mark has no partner.
    """
    return current if substance(current, name) == substance(wanted, name) else wanted


def split(text: str) -> list[str]:
    """The lines of a text with their ends; only a newline ends one."""
    return _LINE.findall(text)


def _unmarked(block: str) -> str:
    return block.partition("\n")[2]


def _ended(text: str) -> tuple[str, str]:
    """The text with an end to its last line, and the mark that says whether it had one."""
    return (text, BEGIN) if not text or text.endswith("\n") else (f"{text}\n", BEGIN_UNENDED)


def _block(begin: str, kept: str, body: str) -> str:
    return f"{begin}\n{kept}{body}{END}\n"


def _pieces(text: str, name: str) -> Iterator[_Piece]:
    lines: list[str] = []
    inside = False
    for line in split(text):
        mark = line.rstrip("\r\n")
        if mark in _BEGINNINGS:
            if inside:
                break
            if lines:
                yield _Piece(tuple(lines), is_block=False)
            lines, inside = [line], True
        elif mark == END:
            if not inside:
                raise _lone(mark, name)
            yield _Piece((*lines, line), is_block=True)
            lines, inside = [], False
        else:
            lines.append(line)
    if inside:
        raise _lone(lines[0].rstrip("\r\n"), name)
    if lines:
        yield _Piece(tuple(lines), is_block=False)


def _lone(mark: str, name: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name or 'the text'}: {mark!r} has lost its other half: put it back, or take the block out"
    )
