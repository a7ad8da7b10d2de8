"""Somebody who follows a document to the letter."""

import re
from collections.abc import Mapping, Sequence

from tests.e2e.programs import PROJECT

from .documents import Kind, replace, section, steps
from .machine import Machine

SHARED = "/usr/share/onionmx"
"""Where the package keeps what the documents copy from."""
_PATIENCE = 400.0  # seconds; setup waits for a new onion service
EXPECTED_CODES: Mapping[str, str] = {
    "onionmx doctor": "0|1|75",  # run before the record is there
    "onionmx publish": "0|1",  # it prints the record, and says that the name servers do not have it
}
"""Commands that may end with something else than 0, and the codes that are right."""


def follow(
    machine: Machine,
    document: str,
    *headings: str,
    values: Mapping[str, str] | None = None,
    skipped: Sequence[str] = (),
    folder: str = SHARED,
) -> None:
    """Do what a section of a document says, in its order.

    Args:
        machine: where.
        document: its path in the project.
        headings: of the second level, then of the third; none for all of it.
        values: what the examples in it are here.
        skipped: steps for another case, each by a piece of its text.
        folder: where commands are run.
    """
    print(f"--- {document}: {', '.join(headings)}", flush=True)
    text = section((PROJECT / document).read_text(), *headings)
    for step in steps(replace(text, values or {}), skipped):
        if step.kind is Kind.FILE:
            print(f"{machine.name}: in {step.file}:\n{step.text}", flush=True)
            file = machine.path(step.file)
            file.parent.mkdir(parents=True, exist_ok=True)
            before = file.read_text() if file.exists() else ""
            file.write_text(add_lines(before, step.text))
        elif step.kind is Kind.SHELL:
            _run(machine, folder, step.text)
        else:
            print(f"shown only: {step.text}", flush=True)


def add_lines(before: str, lines: str) -> str:
    """Return a file with more lines: at its end, or in the tables of a TOML file that it has already."""
    for part in re.split(r"^(?=\[[\w.]+\]\n)", lines, flags=re.MULTILINE):
        before = _add_part(before, part)
    return before


def _add_part(before: str, lines: str) -> str:
    table = re.match(r"\[[\w.]+\]\n", lines)
    if table and f"\n{table[0]}" in f"\n{before}":
        start, _, end = f"\n{before}".partition(f"\n{table[0]}")
        return f"{start}\n{lines}{end}".removeprefix("\n")
    return before + lines


def _run(machine: Machine, folder: str, text: str) -> None:
    script = [f"cd {folder}"]
    for line in text.replace("\\\n", "").splitlines():
        expected = next((codes for command, codes in EXPECTED_CODES.items() if line.startswith(command)), "0")
        script.append(f"{line} || case $? in {expected}) ;; *) exit 1 ;; esac")
    machine.run("\n".join(script), timeout=_PATIENCE)
