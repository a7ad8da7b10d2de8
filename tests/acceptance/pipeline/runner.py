"""Plays GitLab's runner: its environment, its files, its stages in their order, and how it ends a stage.

Source: gitlab-runner, docs/executors/custom.md, executors/custom/custom.go and command.go.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.acceptance.pipeline.host import IMAGE, RUNTIME, USER

BUILD_FAILURE, SYSTEM_FAILURE = 31, 32
"""Others than the runner's, so that an executor with numbers of its own is found out."""
BEFORE = ("prepare_script", "get_sources", "restore_cache", "download_artifacts")
AFTER_SUCCESS = ("after_script", "archive_cache", "upload_artifacts_on_success", "cleanup_file_variables")
AFTER_FAILURE = (
    "after_script",
    "archive_cache_on_failure",
    "upload_artifacts_on_failure",
    "cleanup_file_variables",
)
LIMIT = 120.0
"""Seconds for a stage that is to end by itself."""
# A job may set all of these, the predefined ones included.
HOSTILE = {
    "CI_JOB_ID": "../../../../etc; rm -rf /home/ci/keep\n$(touch /home/ci/owned)",
    "CI_PROJECT_ID": "11",
    "CI_COMMIT_REF_PROTECTED": "true",
    "CI_JOB_IMAGE": f"{IMAGE}\n--privileged --volume /:/host",
    "CI_PROJECT_PATH_SLUG": "`touch /home/ci/owned`",
    "JOB_RESPONSE_FILE": "/dev/null",
    "PATH": "/builds/bin",
    "TOKEN": "TOKEN-OF-THE-RUNNER",
}


@dataclass
class Response:
    """The job response, as GitLab sends it, with what this test needs of it."""

    number: object = 1
    project: object = 12
    image: object = field(default_factory=lambda: {"name": IMAGE, "entrypoint": ["/bin/sh", "-c", "touch /builds/x"]})
    protected: object = False
    ref_type: str = "branch"
    services: Sequence[Mapping[str, str]] = ()

    def to_json(self) -> str:
        variables = [{"key": key, "value": value, "public": True} for key, value in HOSTILE.items()]
        return json.dumps(
            {
                "id": self.number,
                "token": "TOKEN-OF-THE-JOB",
                "job_info": {"id": self.number, "name": "job", "project_id": self.project},
                "git_info": {"ref": "x", "ref_type": self.ref_type, "protected": self.protected},
                "image": self.image,
                "services": list(self.services),
                "variables": variables,
            }
        )


class Runner:
    """One job; leaving it is what the runner always does at the end: cleanup."""

    def __init__(self, response: Response | None = None) -> None:
        self.log = ""
        self.exit_code_of_script: str | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="custom-executor"))
        self._scripts = 0
        (self._folder / "response.json").write_text((response or Response()).to_json())
        shutil.chown(self._folder, USER)
        shutil.chown(self._folder / "response.json", USER)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            assert self.stage("cleanup") == 0, self.log
        finally:
            shutil.rmtree(self._folder)
            if error:
                print(self.log)

    def begin(self) -> int:
        """Config and prepare."""
        assert self.stage("config") == 0, self.log
        return self.stage("prepare")

    def script(self, stage: str, text: str, meanwhile: Callable[[], None] | None = None) -> int:
        """Run a script of the job as a stage."""
        return self.stage("run", *self.written(text), stage, meanwhile=meanwhile)

    def written(self, text: str) -> list[str]:
        """Write a script as the runner does; return its path."""
        self._scripts += 1
        path = self._folder / f"script{self._scripts}"
        path.write_text(f"set -e\n{text}\n")
        path.chmod(0o700)
        shutil.chown(path, USER)
        return [str(path)]

    def all_stages(self, build: str, *, cache: str = "true") -> int:
        """Every stage of a job between prepare and cleanup; return the code of the job's own script."""
        for stage in BEFORE:
            assert self.script(stage, "true") == 0, self.log
        code = self.script("build_script", build)
        for stage in AFTER_FAILURE if code else AFTER_SUCCESS:
            assert self.script(stage, cache if stage == "after_script" else "true") == 0, self.log
        return code

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a stage as the runner does: in a process group of its own."""
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": f"/home/{USER}",
            "XDG_RUNTIME_DIR": str(RUNTIME),
            "RUNNER_TOKEN": "TOKEN-OF-THE-RUNNER",
            "TMPDIR": str(self._folder),
            "JOB_RESPONSE_FILE": str(self._folder / "response.json"),
            "BUILD_FAILURE_EXIT_CODE": str(BUILD_FAILURE),
            "SYSTEM_FAILURE_EXIT_CODE": str(SYSTEM_FAILURE),
            "BUILD_EXIT_CODE_FILE": str(self._folder / "exit_code"),
            **{f"CUSTOM_ENV_{name}": value for name, value in HOSTILE.items()},
        }
        command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "onionmx-ci", *words]
        return subprocess.Popen(
            command,
            env=env,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )

    def stage(self, *words: str, meanwhile: Callable[[], None] | None = None) -> int:
        """Run a stage to its end; return its exit code."""
        process = self.start(*words)
        try:
            if meanwhile:
                meanwhile()
            said, _ = process.communicate(timeout=LIMIT)
        except BaseException:
            end(process, signal.SIGKILL)
            raise
        self.log += f"--- {' '.join(words[:1] + words[2:])}\n{said}"
        file = self._folder / "exit_code"
        self.exit_code_of_script = file.read_text() if file.exists() else None
        file.unlink(missing_ok=True)
        return process.returncode


def end(process: "subprocess.Popen[str]", *signals: signal.Signals) -> None:
    """End a stage as the runner does whose time is up: signals to the whole group."""
    for number in signals:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    process.communicate(timeout=LIMIT)
