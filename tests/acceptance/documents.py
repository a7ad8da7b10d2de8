"""What the documents tell an administrator to do, as steps in their order."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

NICKNAMES: Mapping[str, str] = {
    "torrc": "/etc/tor/torrc",
    "000_localmacros": "/etc/exim4/conf.d/main/000_localmacros",
}
"""Files that the documents name without their folder, once the folder is known."""

_PATH = rf"/[^`\s]+|{'|'.join(NICKNAMES)}"
_BLOCK_FOR_FILE = re.compile(rf"\bin `({_PATH})`:$", re.IGNORECASE)
_LINE_FOR_FILE = re.compile(rf"\bin `({_PATH})`: `([^`]+)`", re.IGNORECASE)
_COMMANDS = re.compile(
    r"(apt|apt-get|cat|cp|exim4|haraka|install|ln|mkdir|onionmx|postfix|postmap|printf|rm|sed|systemctl|update-exim4\.conf)\b"
)


class DocumentError(LookupError):
    """A document does not have what is to be followed."""


class Kind(Enum):
    """What is to be done with a block."""

    FILE = auto()
    """Its lines belong at the end of a file."""
    SHELL = auto()
    """Its lines are commands."""
    SHOWN = auto()
    """It shows what something looks like, such as a command with what it prints."""


@dataclass(frozen=True)
class Step:
    """One step.

    Args:
        kind: what to do.
        text: the lines, each with its newline.
        file: which file, for Kind.FILE.
    """

    kind: Kind
    text: str
    file: str = ""


def section(text: str, *headings: str) -> str:
    """Return what is under a heading of the second level, or under one of the third within it, up to the next one."""
    for level, heading in enumerate(headings, 2):
        mark = "#" * level
        _, found, rest = f"\n{text}".partition(f"\n{mark} {heading}\n")
        if not found:
            raise DocumentError(f"no heading {mark} {heading}")
        text = re.split(rf"^#{{2,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return text


def replace(text: str, values: Mapping[str, str]) -> str:
    """Put other values for the examples; each must be there."""
    for shown, real in values.items():
        if shown not in text:
            raise DocumentError(f"nothing mentions {shown}")
        text = text.replace(shown, real)
    return text


def steps(text: str, skipped: Sequence[str] = ()) -> list[Step]:
    """Return the steps of a text.

    Args:
        text: Markdown; blocks are indented by four blanks.
        skipped: each is a piece of one step that is left out; one that is nowhere is an error.
    """
    found = list(_steps(text))
    for piece in skipped:
        matching = [step for step in found if piece in step.text]
        if len(matching) != 1:
            raise DocumentError(f"{len(matching)} steps have {piece!r}")
        found.remove(matching[0])
    return found


def _steps(text: str) -> Iterator[Step]:
    before = ""
    for chunk in _chunks(text):
        if chunk.startswith("    "):
            yield _block(before, re.sub(r"^ {4}", "", chunk, flags=re.MULTILINE).rstrip("\n") + "\n")
            continue
        before = chunk.rstrip()
        for path, line in _LINE_FOR_FILE.findall(chunk):
            yield Step(Kind.FILE, f"{line}\n", NICKNAMES.get(path, path))
        if before.startswith("Then `"):
            yield from (Step(Kind.SHELL, f"{command}\n") for command in _first_sentence(before))


def _chunks(text: str) -> Iterator[str]:
    """Split into blocks and paragraphs; an empty line within a block belongs to it."""
    block: list[str] = []
    paragraph: list[str] = []
    for line in [*text.splitlines(), "."]:
        if line.startswith("    ") and not paragraph:
            block.append(f"{line}\n")
        elif line.strip() and block:
            yield "".join(block)
            block, paragraph = [], [f"{line}\n"]
        elif line.strip():
            paragraph.append(f"{line}\n")
        elif block:
            block.append("\n")
        elif paragraph:
            yield "".join(paragraph)
            paragraph = []


def _block(before: str, text: str) -> Step:
    if named := _BLOCK_FOR_FILE.search(before):
        return Step(Kind.FILE, text, NICKNAMES.get(named[1], named[1]))
    if _COMMANDS.match(text):
        return Step(Kind.SHELL, text)
    return Step(Kind.SHOWN, text)


def _first_sentence(paragraph: str) -> Iterator[str]:
    """The commands of the first sentence."""
    for number, piece in enumerate(paragraph.split("`")):
        if number % 2:
            yield piece
        elif number and re.match(r"[^.]*\.(\s|$)", piece):
            return
