"""Why a stage ends early.

The runner tells two kinds apart by the exit code (GitLab Runner, custom executor, "Error handling"): a fault of the
job, and one of this host, after which some stages are tried again.
"""


class BuildFailure(Exception):  # noqa: N818 - the runner's word
    """The job is at fault.

    Args:
        message: for the job's log.
        code: the exit code of the job's script, if it had one.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class SystemFailure(Exception):  # noqa: N818 - the runner's word
    """This host, podman or the runner is at fault, or it could not be told who is."""
