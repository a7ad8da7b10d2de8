"""Text files of one entry a line: `#` starts a comment, blank lines do not count.

The parsers of this folder do not stop at the first bad line: they return what they could read together with every
problem, so that an operator fixes a file in one go.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onionmx.domain import shown

MAX_LINE_LENGTH = 10_000  # characters; more than a hundred targets, so a longer line is not what it claims to be


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a file.

    Attributes:
        file: name of the file.
        line: counted from 1.
        message: what is wrong and what would be right.
    """

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that says something.

    Attributes:
        number: counted from 1.
        words: its words, at least one.
    """

    number: int
    words: tuple[str, ...]


def read_lines(file: str, content: bytes, problems: list[Problem]) -> Iterator[Line]:
    """Split the content of a file into lines of words.

    Args:
        file: its name, for the problems.
        content: UTF-8, with or without a byte order mark; lines end in LF or CRLF.
        problems: receives lines that are not text.
    """
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = raw.decode("utf-8").partition("#")[0].strip(" \t\r")
        except UnicodeDecodeError:
            problems.append(Problem(file, number, f"{raw[:40]!r} is not UTF-8 text"))
            continue
        if len(text) > MAX_LINE_LENGTH:
            problems.append(Problem(file, number, f"{len(text)} characters: a line has at most {MAX_LINE_LENGTH}"))
        elif not text.replace("\t", " ").isprintable():
            problems.append(Problem(file, number, f"{shown(text)} contains a control character: expected plain text"))
        elif text:
            yield Line(number, tuple(text.split()))


class FirstLines:
    """Remembers on which line each domain was first seen, to report a second one.

    Args:
        file: name of the file, for the problems.
        problems: receives the duplicates.
    """

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self._file = file
        self._problems = problems
        self._lines: dict[str, int] = {}

    def add(self, domain: str, line: int) -> bool:
        """Note a domain; `False`, and a problem, if it was there before."""
        first = self._lines.setdefault(domain, line)
        if first != line:
            self._problems.append(
                Problem(self._file, line, f"{domain} is already on line {first}: keep one of the two")
            )
        return first == line


def described(problems: Iterable[Problem], limit: int = 20) -> str:
    """All problems as lines; beyond the limit only their number."""
    lines = [str(problem) for problem in problems]
    if len(lines) > limit:
        lines[limit:] = [f"and {len(lines) - limit} more problems"]
    return "\n".join(lines)
