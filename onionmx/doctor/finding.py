"""What the doctor says: findings, and the exit code that goes with them; no I/O."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from onionmx.errors import EXIT_FOUND, EXIT_TEMPORARY

EXIT_PROBLEM = 1


class Severity(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but something should be better."""
    PROBLEM = "problem"
    """Mail is lost, delayed or exposed, or the machine can be misused."""
    NOT_CHECKED = "not checked"
    """It could not be found out, or there is nothing to look at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: name of the check.
        severity: how bad it is.
        seen: what was seen, on one line.
        why: why it matters.
        mend: what mends it, line by line as it stands in a file or on a command line; empty where nothing is to mend.
    """

    check: str
    severity: Severity
    seen: str
    why: str = ""
    mend: str = ""


def ok(check: str, seen: str) -> Finding:
    """All is well."""
    return Finding(check, Severity.OK, seen)


def warning(check: str, seen: str, mend: str, why: str = "") -> Finding:
    """Something should be better; without `why` the reason is that of the check."""
    return Finding(check, Severity.WARNING, seen, why, mend)


def problem(check: str, seen: str, mend: str, why: str = "") -> Finding:
    """Something is wrong; without `why` the reason is that of the check."""
    return Finding(check, Severity.PROBLEM, seen, why, mend)


def not_checked(check: str, seen: str, mend: str = "") -> Finding:
    """It could not be found out."""
    return Finding(check, Severity.NOT_CHECKED, seen, mend=mend)


def exit_code(findings: Iterable[Finding], essential: Collection[str]) -> int:
    """1 for a problem, else 75 if an essential check could not tell, else 0.

    Args:
        findings: all of them.
        essential: names of the checks without which nobody knows whether the machine is sound.
    """
    severities = {(finding.severity, finding.check in essential) for finding in findings}
    if any(severity is Severity.PROBLEM for severity, _ in severities):
        return EXIT_PROBLEM
    return EXIT_TEMPORARY if (Severity.NOT_CHECKED, True) in severities else EXIT_FOUND
