"""What GitLab itself says of a job: the job response, not the variables, which the job may set.

The runner's own code reads the same fields (gitlab-runner, common/build.go: IsProtected; common/network.go: JobInfo).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .failures import SystemFailure

_LARGEST = 2**63


@dataclass(frozen=True)
class Job:
    """A job.

    Args:
        number: its id, unique in a GitLab.
        project: the id of its project, likewise.
        image: the image that it asks for; nothing if none.
        protected: whether its branch or tag is protected. GitLab before 18.3 does not say; then none is.
        branch: whether it runs for a branch.
        services: how many services it asks for.
    """

    number: int
    project: int
    image: str
    protected: bool
    branch: bool
    services: int

    @property
    def name(self) -> str:
        """The name of its container."""
        return f"onionmx-ci-{self.number}"

    @property
    def trusted(self) -> bool:
        """Whether it was reviewed. Not a tag: anyone who may push a protected one chooses what runs for it."""
        return self.protected and self.branch


def load(path: str | None) -> Job:
    """Read the job response.

    Args:
        path: the runner's JOB_RESPONSE_FILE.

    Raises:
        SystemFailure: there is none, or it is not what GitLab sends.
    """
    if not path:
        raise SystemFailure("JOB_RESPONSE_FILE is not set: GitLab Runner 14.1 or later would be right")
    try:
        return parse(json.loads(Path(path).read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise SystemFailure(f"the job response cannot be read: {type(error).__name__}") from error


def parse(response: object) -> Job:
    """Take a job from a job response.

    Raises:
        SystemFailure: it has no usable ids.
    """
    fields = _table(response)
    info, image = _table(fields.get("job_info")), _table(fields.get("image")).get("name")
    git, services = _table(fields.get("git_info")), fields.get("services")
    return Job(
        number=_number(fields.get("id"), "id"),
        project=_number(info.get("project_id"), "job_info.project_id"),
        image=image if isinstance(image, str) else "",
        protected=git.get("protected") is True,
        branch=git.get("ref_type") == "branch",
        services=len(services) if isinstance(services, list) else 0,
    )


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _number(value: object, name: str) -> int:
    # Names of containers and files are made of these numbers and of nothing else that a job may choose.
    if type(value) is not int or not 0 < value < _LARGEST:
        raise SystemFailure(f"the job response has no usable {name}")
    return value
