"""The check as a whole, and the container that it runs in."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec

from onionmx.config import Configuration, TorSection
from onionmx.doctor.checks import isolation
from onionmx.doctor.checks.isolation import judge_container
from onionmx.doctor.finding import Severity
from onionmx.doctor.isolation.container import Mounts
from onionmx.doctor.isolation.process import look_at_processes
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import run_checks
from tests.doctor.isolation.running import is_documented
from tests.net.stranger import user_namespace

_READ_ONLY = 'mount -o remount,bind,ro / && exec "$@"'
SOUND = Mounts(is_read_only=True, engines=())


def test_container_that_is_sound_and_one_that_is_not() -> None:
    own = look_at_processes().own
    rootless = replace(own, uid_map="0 1000 1", status=replace(own.status, no_new_privileges=True))
    (found,) = judge_container("podman", rootless, SOUND, ())
    assert found.severity is Severity.OK
    assert is_documented(found)
    wrong = replace(own, uid_map="0 0 4294967295", status=replace(own.status, no_new_privileges=False))
    found, *others = judge_container("docker", wrong, Mounts(is_read_only=False, engines=("/sock",)), ["/run/x.sock"])
    assert found.severity is Severity.PROBLEM
    assert found.seen == "pod: this container of docker can reach /run/x.sock, /sock"
    assert [other.severity for other in others] == [Severity.WARNING] * 3
    (found,) = judge_container("podman", rootless, None, ())
    assert found.severity is Severity.NOT_CHECKED


@user_namespace
def test_command_in_a_container(tmp_path: Path) -> None:
    """Rootless, with a root that can only be read; the real thing is in the acceptance tests of the pod."""
    (tmp_path / "onionmx.toml").write_text(f'[tor]\nsocks = "unix:{tmp_path}/none"\n')
    command = [
        *("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"),
        *("sh", "-c", _READ_ONLY, "sh", "setpriv", "--no-new-privs", sys.executable, "-m", "onionmx", "doctor"),
        *("--json", "--check", "isolation", "--config", str(tmp_path / "onionmx.toml")),
    ]
    environment = os.environ | {"container": "podman"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    findings = json.loads(done.stdout)["findings"]
    assert [one["severity"] for one in findings] == ["ok", "not checked", "not checked"], done.stdout
    assert " rootless, read-only, no new privileges" in findings[0]["seen"]
    assert "nothing listens" in findings[1]["seen"]
    assert findings[2]["seen"] == "pod: no daemon of onionmx runs here"


def test_check_as_a_whole(tmp_path: Path) -> None:
    tor = TorSection(socks=f"unix:{tmp_path}/none")
    machine = Machine(msgspec.structs.replace(Configuration(), tor=tor))
    findings = asyncio.run(run_checks([isolation.CHECK], machine, 120.0))
    assert {finding.check for finding in findings} == {"isolation"}
    assert Severity.NOT_CHECKED in {finding.severity for finding in findings if "nothing listens" in finding.seen}
