"""Routers for Exim that were copied from an older onionmx and let mail out, in the files and in what Exim has read."""

from onionmx.doctor.checks.exim_routers import believes_a_code, judge_routers, read_routers
from onionmx.doctor.finding import Severity
from onionmx.errors import ConfigurationError
from onionmx.setup.programs import exim
from onionmx.setup.steps import FileState
from onionmx.setup.system import System

_FOLDER = f"{exim.CONFD}/router/"


def leaks(system: System) -> list[str]:
    """Ask Exim for its routers, and judge them as the doctor does.

    Returns:
        Each leak, in words; empty for none, and where there is no Exim.
    """
    if not system.exists(exim.PROGRAM):
        return []
    done = system.run((exim.PROGRAM, "-bP", "routers"))
    if done.code:
        return [f"{exim.PROGRAM} -bP routers ended with {done.code}: {done.said}"]
    findings = judge_routers(list(read_routers(done.output)))
    return [f"{finding.check}: {finding.seen}" for finding in findings if finding.severity is Severity.PROBLEM]


def refuse_old(path: str, now: FileState | None) -> None:
    """Refuse a router of ours that somebody has changed for an older one, and that setup would leave as it is.

    Args:
        now: as it is.

    Raises:
        ConfigurationError: it takes exit code 1 alone for "no route".
    """
    if now is not None and path.startswith(_FOLDER) and believes_a_code(now.text):
        raise ConfigurationError(
            f"{path} was changed after onionmx setup had written it, and is a leak now: it takes exit code 1 alone for "
            '"no route", as routers of older versions do. Remove it and run onionmx setup again'
        )
