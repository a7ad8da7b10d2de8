"""What the executor of deploy/ci believes and keeps; tests/acceptance/pipeline runs it on podman."""

import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.ci.executor import cache, cgroups, container, job, settings, stages
from deploy.ci.executor.failures import BuildFailure, SystemFailure
from deploy.ci.executor.job import Job
from deploy.ci.executor.settings import Settings

pytestmark = pytest.mark.source
DAY = 24 * 3600
HONEST = {
    "id": 7,
    "job_info": {"project_id": 12},
    "git_info": {"protected": True, "ref_type": "branch"},
    "image": {"name": "localhost/ci:12", "entrypoint": ["/bin/sh"]},
    "services": [],
    "variables": [{"key": "CI_PROJECT_ID", "value": "11"}, {"key": "CI_JOB_ID", "value": "1"}],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from([*HONEST, "name", "project_id", "protected"]), inner)
    ),
)


def test_ids_and_protection_are_those_of_the_response_not_of_variables() -> None:
    assert job.parse(HONEST) == Job(
        number=7, project=12, image="localhost/ci:12", protected=True, branch=True, services=0
    )
    for git in ({}, {"protected": "true"}, {"protected": 1}, {"protected": None}, None):
        assert not job.parse(HONEST | {"git_info": git}).protected


@given(JSON)
def test_any_response_is_a_job_or_a_failure_of_the_host(response: object) -> None:
    try:
        found = job.parse(response)
    except SystemFailure:
        return
    assert found.name == f"onionmx-ci-{found.number}"
    assert min(found.number, found.project) > 0


@given(st.sampled_from(["id", "project"]), JSON.filter(lambda value: type(value) is not int))
def test_what_is_no_number_is_no_id(field: str, value: object) -> None:
    wrong = HONEST | ({"id": value} if field == "id" else {"job_info": {"project_id": value}})
    with pytest.raises(SystemFailure, match="no usable"):
        job.parse(wrong)


def test_a_response_that_cannot_be_read_is_a_failure_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text('{"id": 1')
    (tmp_path / "deep").write_text("[" * 100_000)
    for path in (None, "", str(tmp_path / "none"), str(tmp_path / "broken"), str(tmp_path / "deep")):
        with pytest.raises(SystemFailure):
            job.load(path)
    (tmp_path / "good").write_text(json.dumps(HONEST))
    assert job.load(str(tmp_path / "good")).number == 7


def allowed(asked: Job, images: dict[str, list[int]]) -> bool:
    try:
        stages.check(Settings(images=images), asked)
    except BuildFailure as failure:
        assert str(failure).isprintable()
        return False
    return True


def test_an_image_is_allowed_by_its_whole_name_and_project() -> None:
    asked = job.parse(HONEST)
    assert allowed(asked, {"localhost/ci:12": []})
    assert allowed(asked, {"localhost/ci:12": [12]})
    assert not allowed(asked, {"localhost/ci:12": [11]})
    assert not allowed(asked, {"localhost/ci": [], "localhost/ci:13": [12]})
    assert not allowed(job.parse(HONEST | {"services": [{}]}), {"localhost/ci:12": []})


@given(st.text())
def test_no_other_image_is_allowed(name: str) -> None:
    asked = job.parse(HONEST | {"image": {"name": name}})
    assert allowed(asked, {"localhost/ci:12": []}) == (name == "localhost/ci:12")


def test_settings_are_read_or_say_what_would_be_right(tmp_path: Path) -> None:
    path = tmp_path / "executor.toml"
    path.write_text('cpus = 0.5\ncache = "/srv/cache"\n[images]\n"a" = [1]\n')
    assert settings.load(path) == Settings(images={"a": [1]}, cpus=0.5, cache=Path("/srv/cache"))
    for text, words in {
        "": "at least one is needed",
        "images = 1": "a table of image names",
        '[images]\na = ["1"]': "a table of image names",
        "builds_mb = 0": "above 0",
        "builds_mb = true": "above 0",
        "builds_mb = 1.5": "above 0",
        'network = "host"': "one of none, slirp4netns",
        'cache = "../x"': "an absolute path",
        "cgroups = 1": "true or false",
        "privileged = true": "one of images",
        "=": "executor.toml",
    }.items():
        path.write_text(text)
        with pytest.raises(SystemFailure, match=words):
            settings.load(path)


def test_the_options_give_nothing_of_the_host() -> None:
    given = " ".join(container.options(Settings(images={}), job.parse(HONEST), Path("/run/x/shared")))
    for needed in (
        "--read-only ",
        "--cap-drop all",
        "--security-opt no-new-privileges",
        "--pull never",
        "--network none",
        "--userns auto:size=4096",
        "--image-volume ignore",
        "--http-proxy=false",
        "--memory 4096m --memory-swap 4096m --pids-limit 512 --cpus 1.0",
    ):
        assert needed in given
    assert given.count("--volume") == 1
    assert "--volume /run/x/shared:/run/onionmx-ci:ro," in given


def test_a_copy_ends_at_its_limit() -> None:
    for size in (0, 1, 2**20 - 1, 2**20, 3 * 2**20):
        target = io.BytesIO()
        assert cache.copy(io.BytesIO(bytes(size)), target, size)
        assert target.tell() == size
        target = io.BytesIO()
        assert not cache.copy(io.BytesIO(bytes(size + 1)), target, size)
        assert target.tell() <= size


def test_old_caches_go_then_the_oldest_until_there_is_room(tmp_path: Path) -> None:
    for age, name in enumerate(("new.tar", "mid.tar", "late.tar")):
        (tmp_path / name).write_bytes(bytes(2**20))
        os.utime(tmp_path / name, (100 * DAY - age * DAY,) * 2)
    cache.expire(tmp_path, days=14, total_mb=3, now=100 * DAY)
    assert {path.name for path in tmp_path.iterdir()} == {"new.tar", "mid.tar", "late.tar"}
    cache.expire(tmp_path, days=14, total_mb=2, now=100 * DAY)
    assert {path.name for path in tmp_path.iterdir()} == {"new.tar", "mid.tar"}
    cache.expire(tmp_path, days=14, total_mb=2, now=113.5 * DAY)
    assert {path.name for path in tmp_path.iterdir()} == {"new.tar"}


def test_caches_are_apart_by_project_and_protection() -> None:
    jobs = [
        Job(1, project, "", protected, branch=True, services=0) for project in (1, 11) for protected in (True, False)
    ]
    assert len({cache.path(Path("/x"), one) for one in jobs}) == 4
    tags = [Job(1, 1, "", protected, branch=False, services=0) for protected in (True, False)]
    assert {cache.path(Path("/x"), one).name for one in tags} == {"1-unprotected.tar"}


def test_a_limit_is_held_by_the_own_cgroup_or_one_above(tmp_path: Path) -> None:
    own = tmp_path / "user/job"
    own.mkdir(parents=True)
    lines = "5:pids:/\n0::/user/job\n"
    assert not cgroups.held(lines, "pids.max", 64, tmp_path)
    (own / "pids.max").write_text("max\n")
    assert not cgroups.held(lines, "pids.max", 64, tmp_path)
    for place, value, good in ((tmp_path / "user", 65, False), (tmp_path / "user", 64, True), (own, 10, True)):
        (place / "pids.max").write_text(f"{value}\n")
        assert cgroups.held(lines, "pids.max", 64, tmp_path) == good
    for strange in ("", "0::", "1:pids:/user/job", "0::/../user/job", "0::/elsewhere"):
        assert not cgroups.held(strange, "pids.max", 64, tmp_path)
