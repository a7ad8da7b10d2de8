"""What the doctor says: findings, and the exit code that goes with them; no I/O."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from onionmx.errors import EXIT_FOUND, EXIT_TEMPORARY

EXIT_PROBLEM = 1
AS_ROOT = "run it as root"
"""The fix where this user may not look."""


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
        fix: what fixes it, line by line as written in a file or on a command line; empty if there is nothing to fix.
        cause: the check that says why this one could not be made; empty where this says it itself.
        blocks: whether what names its check as the cause could not be made for it.
    """

    check: str
    severity: Severity
    seen: str
    why: str = ""
    fix: str = ""
    cause: str = ""
    blocks: bool = False


def ok(check: str, seen: str) -> Finding:
    """All is well."""
    return Finding(check, Severity.OK, seen)


def warning(check: str, seen: str, fix: str, why: str = "") -> Finding:
    """Something should be better; without `why` the reason is that of the check."""
    return Finding(check, Severity.WARNING, seen, why, fix)


def problem(check: str, seen: str, fix: str, why: str = "") -> Finding:
    """Something is wrong; without `why` the reason is that of the check."""
    return Finding(check, Severity.PROBLEM, seen, why, fix)


def not_checked(check: str, seen: str, fix: str = "", cause: str = "") -> Finding:
    """It could not be found out; `cause` is the check that may say why."""
    return Finding(check, Severity.NOT_CHECKED, seen, fix=fix, cause=cause, blocks=True)


def blocking(finding: Finding, cause: str = "") -> Finding:
    """A finding for which other checks cannot be made, and which may itself have another as its cause."""
    return replace(finding, cause=cause, blocks=True)


def by_cause(findings: Sequence[Finding]) -> list[Finding]:
    """The findings with the first cause of each, or none where what may be its cause is in order.

    A finding with another cause becomes "not checked" and has no fix.
    """
    blocking = {finding.check: finding for finding in findings if finding.blocks}
    return [_with_cause(finding, blocking) for finding in findings]


def _with_cause(finding: Finding, blocking: Mapping[str, Finding]) -> Finding:
    first, passed = finding, {finding.check}
    while first.cause in blocking and first.cause not in passed:
        first = blocking[first.cause]
        passed.add(first.check)
    if first is finding:
        return replace(finding, cause="")
    return replace(finding, severity=Severity.NOT_CHECKED, fix="", cause=first.check)


def exit_code(findings: Iterable[Finding], essential: Collection[str]) -> int:
    """1 for a problem, else 75 if an essential check could not tell, else 0.

    Args:
        essential: names of the checks without which nobody knows whether the machine is sound.
    """
    severities = {(finding.severity, finding.check in essential) for finding in findings}
    if any(severity is Severity.PROBLEM for severity, _ in severities):
        return EXIT_PROBLEM
    return EXIT_TEMPORARY if (Severity.NOT_CHECKED, True) in severities else EXIT_FOUND
