"""What the runner calls: `onionmx-ci config`, `prepare`, `run SCRIPT STAGE`, `cleanup`; and systemd: `sweep`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import job, settings, stages
from .failures import BuildFailure, SystemFailure

SETTINGS = Path("/etc/onionmx-ci/executor.toml")
USAGE = "onionmx-ci config | prepare | run SCRIPT STAGE | cleanup | sweep"


def main(words: Sequence[str]) -> int:
    """Do one stage; return the exit code that the runner expects."""
    try:
        _do(words)
    except BuildFailure as failure:
        _say(str(failure))
        _tell_code(failure.code)
        return _code("BUILD_FAILURE_EXIT_CODE", 1)
    except Exception as failure:  # noqa: BLE001 - whatever goes wrong here is no fault of the job
        _say(str(failure) if isinstance(failure, SystemFailure) else f"{type(failure).__name__}: {failure}")
        return _code("SYSTEM_FAILURE_EXIT_CODE", 2)
    return 0


def _do(words: Sequence[str]) -> None:
    os.umask(0o022)
    match words:
        case ["config"]:
            stages.config()
        case ["prepare"]:
            stages.prepare(settings.load(SETTINGS), job.load(os.environ.get("JOB_RESPONSE_FILE")))
        case ["run", script, stage]:
            known = settings.load(SETTINGS)
            stages.run(known, job.load(os.environ.get("JOB_RESPONSE_FILE")), Path(script), stage)
        case ["cleanup"]:
            stages.cleanup(settings.load(SETTINGS), job.load(os.environ.get("JOB_RESPONSE_FILE")))
        case ["sweep"]:
            stages.sweep(settings.load(SETTINGS))
        case _:
            raise SystemFailure(f"usage: {USAGE}")


def _say(message: str) -> None:
    sys.stderr.write(f"onionmx-ci: {message}\n")


def _code(name: str, otherwise: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else otherwise


def _tell_code(code: int | None) -> None:
    """For `allow_failure: exit_codes` (GitLab Runner, custom executor, "Build failure exit code")."""
    file = os.environ.get("BUILD_EXIT_CODE_FILE")
    if file and code is not None:
        Path(file).write_text(str(code))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
