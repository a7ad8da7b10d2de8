"""The table of docs/peers.md: what each mail server announces, by program and version."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.e2e.postfix import section
from tests.e2e.programs import PROJECT

DOCUMENT = PROJECT / "docs" / "peers.md"
HEADING = "What each announces"

FLAGS = ("PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "DSN", "STARTTLS")
"""Columns that say `yes` or `no`."""
_YES_OR_NO = {"yes": True, "no": False}
_VERSIONS = re.compile(r"(?P<program>.+?) (?P<first>[0-9][\w.]*)(?: to (?P<last>[0-9][\w.]*)|(?P<on> and later))?")


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        flags: for each of `FLAGS`, whether it is announced.
        size: bytes that it takes with its own settings, 0 for SIZE without a number, `None` for no SIZE.
        early: what it makes of a transaction that is sent early.
        messages: that it takes in a session with its own settings, `None` without a limit.
        flights: in which a message leaves on an open session, one recipient or many.
    """

    flags: Mapping[str, bool]
    size: int | None
    early: str
    messages: int | None
    flights: int


BEFORE_GREETING = "before the greeting"
BEHIND_EHLO = "behind EHLO"
REFUSED = "refused"
NEVER = "never sent"
EARLY = (BEFORE_GREETING, BEHIND_EHLO, REFUSED, NEVER)
"""What may be in the column of early pipelining."""


def read_row(program: str, version: str, text: str | None = None) -> Row:
    """The row for a version of a program.

    Args:
        program: as it is called in the table.
        version: of numbers, with a suffix or not.
        text: of the document.

    Raises:
        LookupError: the table has none, or more than one.
    """
    table = section(DOCUMENT.read_text() if text is None else text, HEADING)
    header, *rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]
    found = [dict(zip(header, row, strict=True)) for row in rows if _is_of(row[0], program, version)]
    if len(found) != 1:
        raise LookupError(f"{DOCUMENT}, {HEADING!r}: {len(found)} rows for {program} {version}")
    [cells] = found
    if cells["early pipelining"] not in EARLY:
        raise LookupError(f"{DOCUMENT}: early pipelining is {cells['early pipelining']!r}, not one of {EARLY}")
    return Row(
        {name: _YES_OR_NO[cells[name]] for name in FLAGS},
        None if cells["SIZE"] == "no" else int(cells["SIZE"].replace("no limit", "0")),
        cells["early pipelining"],
        None if cells["messages in a session"] == "no limit" else int(cells["messages in a session"]),
        int(cells["flights"]),
    )


def _is_of(cell: str, program: str, version: str) -> bool:
    match = _VERSIONS.fullmatch(cell)
    if match is None:
        raise LookupError(f"{DOCUMENT}: {cell!r} names no versions: PROGRAM X, PROGRAM X to Y or PROGRAM X and later")
    if match["program"] != program:
        return False
    own, first = _numbers(version), _numbers(match["first"])
    if match["on"]:
        return own >= first
    last = _numbers(match["last"] or match["first"])
    return own >= first and own[: len(last)] <= last


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    if found is None:
        raise LookupError(f"{version!r} is no version")
    return tuple(map(int, found[0].split(".")))
