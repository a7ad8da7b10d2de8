"""The machine for one job of Forgejo or Gitea: a shell plays the runner, and looks for ways out; the host looks on."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.acceptance.pipeline import host
from tests.e2e.daemon import wait_until

_ROOT = Path("/var/lib/machines/onionmx-job")
_CONFIG = Path("/etc/onionmx-ci/forgejo-runner")
_LIMIT = 120.0
_USER = 1000
"""Who runs the job in the machine, whose ids begin at a multiple of 65536."""
_RUNNER = """
for at in / /etc /usr /bin /etc/forgejo-runner /var; do touch $at/left; done
mount -t tmpfs none /mnt
dd if=/dev/zero of=/tmp/full bs=1M count=600
touch /builds/ready
while [ ! -e /etc/forgejo-runner/go ]; do :; done
"""


def a_machine_for_a_job_is_closed_and_gone_after_it() -> None:
    _make_root()
    mark = Path("/etc/onionmx-ci/of-the-host")
    mark.touch()
    before = host.digests(_ROOT), host.digests(_CONFIG)
    # As in onionmx-job.service, but for --keep-unit, as no systemd runs here.
    command = [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--machine=onionmx-job",
        "--settings=override",
    ]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as machine:
        try:
            wait_until(lambda: machine.poll() is not None or _is_ready(), "the machine of the job")
            assert machine.poll() is None
            for number in host.processes(_USER):
                host.assert_no_rights(number)
            first = host.processes(_USER)[0]
            full = os.statvfs(f"/proc/{first}/root/tmp")
            assert (full.f_blocks * full.f_frsize, full.f_bavail) == (512 * 2**20, 0)
            assert not Path(f"/proc/{first}/root{mark}").exists()
            assert "Max processes 512 " in " ".join(Path(f"/proc/{first}/limits").read_text().split())
            net = Path(f"/proc/{first}/net/dev").read_text()
            assert [line.split(":")[0].strip() for line in net.splitlines() if ":" in line] == ["lo", "host0"]
            assert "ve-onionmx-job" in Path("/proc/net/dev").read_text()
            (_CONFIG / "go").touch()
            assert machine.wait(_LIMIT) == 0
        finally:
            machine.kill()
    (_CONFIG / "go").unlink()
    assert (host.digests(_ROOT), host.digests(_CONFIG)) == before
    assert not host.processes(_USER)
    shutil.rmtree(_ROOT)


def _make_root() -> None:
    """No more than a shell, with the folders on which the machine mounts something."""
    _ROOT.parent.mkdir(exist_ok=True)
    # Overlays, of which the root of this test is one, cannot map ids.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", _ROOT.parent], check=True)
    for folder in ("bin", "usr/local/bin", "usr/lib", "etc/forgejo-runner", "builds", "tmp", "var/tmp", "mnt", "root"):
        (_ROOT / folder).mkdir(parents=True)
    for folder in ("dev", "proc", "sys", "run"):
        (_ROOT / folder).mkdir()
    shutil.copy("/bin/busybox", _ROOT / "bin/busybox")
    for name in ("sh", "touch", "mount", "dd", "grep"):
        (_ROOT / "bin" / name).symlink_to("busybox")
    for name in ("resolv.conf", "localtime"):  # nspawn mounts the host's there
        (_ROOT / "etc" / name).touch()
    (_ROOT / "usr/lib/os-release").write_text("ID=test\n")
    (_ROOT / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nrunner:x:1000:1000::/builds:/bin/sh\n")
    (_ROOT / "etc/group").write_text("root:x:0:\nrunner:x:1000:\n")
    # nspawn asks it for User=.
    _program("bin/getent", "case $1 in passwd) exec grep ^runner /etc/passwd ;; *) echo runner 1000 ;; esac\n")
    _program("usr/local/bin/forgejo-runner", _RUNNER)
    _CONFIG.mkdir(parents=True)
    (_CONFIG / "config.yml").write_text("{}\n")
    Path("/etc/systemd/nspawn").mkdir(exist_ok=True)
    shutil.copy("deploy/ci/onionmx-job.nspawn", "/etc/systemd/nspawn")


def _program(name: str, text: str) -> None:
    (_ROOT / name).write_text(f"#!/bin/sh\n{text}")
    (_ROOT / name).chmod(0o755)


def _is_ready() -> bool:
    return any(Path(f"/proc/{number}/root/builds/ready").exists() for number in host.processes(_USER))
