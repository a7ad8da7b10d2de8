"""Jobs, honest and hostile; each proof asserts what the host sees, while the job runs or after it."""

import os
import signal
import socket
import tarfile
from contextlib import suppress
from pathlib import Path

from tests.acceptance.pipeline import host, network
from tests.acceptance.pipeline.runner import BUILD_FAILURE, HOSTILE, SYSTEM_FAILURE, Response, Runner, end
from tests.e2e.daemon import wait_until
from tests.e2e.rights import status_of

_MIB = 2**20
# The host lets the job go on by making a file; a builtin of the shell waits for it, as a job may be out of processes.
_WAIT = "while [ ! -e /run/onionmx-ci/go ]; do :; done"


def _go() -> None:
    (host.STATE / "1/shared/go").touch()


def an_honest_job_runs_with_its_cache() -> None:
    with Runner() as job:
        assert job.begin() == 0
        assert job.all_stages("echo built; read line || echo no input", cache="echo kept >/cache/kept") == 0
        assert "built\nno input\n" in job.log
    with Runner() as job:
        assert job.begin() == 0
        assert job.script("build_script", 'test "$(cat /cache/kept)" = kept') == 0
    with tarfile.open(host.CACHE / "12-unprotected.tar") as kept:
        assert kept.getnames() == [".", "./kept"]
    assert set(host.digests(host.CACHE)) == {"12-unprotected.tar"}


def _kill_podman() -> None:
    wait_until(lambda: len(host.processes()) >= 4, "the job")
    for number in host.clients("exec"):
        os.kill(number, signal.SIGKILL)


def failures_of_the_job_and_of_the_host_are_kept_apart() -> None:
    with Runner() as job:
        assert job.begin() == 0
        for code in (3, 125, 126, 127, 255):
            assert job.script("build_script", f"exit {code}") == BUILD_FAILURE
            assert job.exit_code_of_script == str(code)
        assert job.script("build_script", "/nowhere") == BUILD_FAILURE
        assert job.script("build_script", "kill -9 $$") == BUILD_FAILURE
        assert job.script("build_script", "sleep 300", _kill_podman) == SYSTEM_FAILURE
        assert job.exit_code_of_script is None
        host.run_as_user("podman", "rm", "--force", "--time", "0", "onionmx-ci-1")
        assert job.script("after_script", "true") == SYSTEM_FAILURE
        assert job.exit_code_of_script is None
    with Runner(Response(image={"name": "localhost/ci:absent"})) as job:  # allowed, but nobody pulled it
        assert job.begin() == SYSTEM_FAILURE
    with Runner(Response(services=[{"name": host.IMAGE}])) as job:
        assert job.begin() == BUILD_FAILURE
    host.write_settings(cgroups=True)
    with Runner() as job:  # the kernel of this test holds no limit by cgroups
        assert job.begin() == SYSTEM_FAILURE
    host.write_settings(cgroups=False)


def a_fork_bomb_stays_in_its_limit_and_ends_with_its_stage() -> None:
    most = 0

    def look() -> None:
        nonlocal most

        def is_full() -> bool:
            nonlocal most
            most = max(most, len(host.processes()))
            return most >= host.PROCESSES - 4

        wait_until(is_full, "the fork bomb")
        most = max(most, *(len(host.processes()) for _ in range(20)))
        _go()

    # 200 would be the end of it, if the limit did not hold.
    bomb = "(n=0; while [ $n -lt 200 ]; do setsid sleep 300 & n=$((n+1)); done) || true"
    with Runner() as job:
        assert job.begin() == 0
        job.script("build_script", f"{bomb}\n{_WAIT}", look)
        assert most <= host.PROCESSES + 2  # process 1, and what it sleeps in
        assert len(host.processes()) <= 2
        assert job.script("after_script", "echo after") == 0


def a_full_disk_is_the_jobs_own() -> None:
    begun = 0

    def look() -> None:
        first = host.first_process()
        for place, size in (
            ("builds", host.BUILDS_MB),
            ("cache", host.CACHE_MB),
            ("tmp", host.TMP_MB),
            ("dev/shm", 64),
        ):
            path = f"/proc/{first}/root/{place}"
            wait_until(lambda path=path: os.statvfs(path).f_bavail == 0, f"{place} to be full")  # type: ignore[misc]
            assert os.statvfs(path).f_blocks * os.statvfs(path).f_frsize == size * _MIB
        assert host.used_bytes() - begun < _MIB
        _go()

    folders = "/cache /tmp /dev/shm / /bin /etc /run /run/onionmx-ci /var/tmp /dev /proc /sys"
    fill = f"for at in {folders}; do dd if=/dev/zero of=$at/fill bs=1M count=100 || true; done"
    fill += "; dd if=/dev/zero of=/builds/fill bs=1M count=100 || true"
    # Packed, this is more than the disk of many a host.
    sparse = "rm /cache/fill; dd if=/dev/zero of=/cache/sparse bs=1M count=0 seek=1000"
    with Runner() as job:
        assert job.begin() == 0
        begun = host.used_bytes()
        job.script("build_script", f"{fill}\n{_WAIT}", look)
        assert job.script("after_script", sparse) == 0
        kept = host.digests(host.CACHE)
        assert job.script("archive_cache", "true") == 0
        assert host.digests(host.CACHE) == kept
    assert host.used_bytes() - begun < _MIB


def image_and_job_cannot_choose_what_runs_first() -> None:
    def look() -> None:
        first = host.first_process()
        assert Path(f"/proc/{first}/cmdline").read_bytes().split(b"\0")[:2] == [b"/bin/sh", b"-c"]
        for number in host.processes():
            assert len(set(status_of(number)["Uid"].split())) == 1
            host.assert_no_rights(number)
        limits = Path(f"/proc/{first}/limits").read_text()
        for line in (
            f"Max processes {host.PROCESSES}",
            f"Max data size {host.MEMORY_MB * _MIB}",
            "Max core file size 0",
        ):
            assert line in " ".join(limits.split()), limits
        assert ":1000:1000:" in Path(f"/proc/{first}/root/etc/passwd").read_text()
        # Neither root of the namespace nor the user of the runner is mapped to a user of this host.
        inside, outside, count = map(int, Path(f"/proc/{first}/uid_map").read_text().split())
        assert (inside, count) == (0, 4096)
        assert outside >= 100_000
        assert not host.run_as_user("podman", "volume", "ls", "--quiet")
        _go()

    image = {"name": host.HOSTILE_IMAGE, "entrypoint": ["/bin/sh", "-c", "sleep 1"]}
    with Runner(Response(project=11, image=image)) as job:
        assert job.begin() == 0
        assert job.script("build_script", _WAIT, look) == 0
        assert (
            job.script("after_script", "! kill -9 1; ! mount -t tmpfs none /tmp; ! touch /bin/x; ! touch /data/x") == 0
        )
    with Runner(Response(project=12, image=image)) as job:  # an image of project 11
        assert job.begin() == BUILD_FAILURE


def sockets_and_files_of_the_host_are_out_of_reach() -> None:
    secret = Path("/home/ci/private")
    secret.write_text("FILE-OF-THE-HOST")
    secret.chmod(0o644)
    watched = [Path("/run/docker.sock"), host.RUNTIME / "podman.sock"]
    before = host.digests(Path("/etc"))
    servers = []
    for path in watched:
        servers.append(socket.socket(socket.AF_UNIX))
        servers[-1].bind(str(path))
        path.chmod(0o666)
        servers[-1].listen()
        servers[-1].setblocking(False)  # noqa: FBT003
    port = socket.create_server(("127.0.0.1", 0))
    port.setblocking(False)  # noqa: FBT003
    servers.append(port)

    def look() -> None:
        first = host.first_process()
        own = {"/", "/builds", "/cache", "/tmp", "/run/onionmx-ci", "/run/.containerenv"}  # noqa: S108
        own |= {"/etc/hosts", "/etc/hostname", "/etc/passwd", "/etc/group", "/etc/resolv.conf"}
        shown = host.mount_points(first)
        others = {point for point in shown if not point.startswith(("/proc", "/sys", "/dev"))}
        assert others <= own, others - own
        assert len(Path(f"/proc/{first}/net/unix").read_text().splitlines()) == 1  # its heading
        assert Path(f"/proc/{first}/net/dev").read_text().count(":") == 1  # lo
        _go()

    seek = f"""
        find / -type s 2>/dev/null || true
        for at in /run/docker.sock /run/user/1000/podman.sock; do nc local:$at </dev/null || true; done
        nc 127.0.0.1 {port.getsockname()[1]} </dev/null || true
        for at in /home/ci /proc/1/root/home/ci /builds/../../../../home/ci; do cat $at/private || true; done
        ln -s /etc/shadow /builds/link; echo x >>/builds/link || true
        ln -s /home/ci/private /cache/link; cat /cache/link || true
        {_WAIT}"""
    with Runner() as job:
        assert job.begin() == 0
        job.script("build_script", seek, look)
        assert job.script("archive_cache", "true") == 0
        assert "FILE-OF-THE-HOST" not in job.log
    assert host.digests(Path("/etc")) == before
    for server in servers:
        with suppress(BlockingIOError):
            server.accept()
            raise AssertionError(f"{server}: a job reached it")
        server.close()
    for path in watched:
        path.unlink()


def _build_and_keep(job: Runner, script: str) -> None:
    assert job.script("build_script", script) == 0, job.log
    assert job.script("archive_cache", "true") == 0, job.log


def caches_of_others_are_neither_read_nor_written() -> None:
    with Runner(Response(project=11, protected=True)) as job:
        assert job.begin() == 0
        _build_and_keep(job, "echo CACHE-OF-THE-PROTECTED-BRANCH >/cache/x")
    with Runner(Response(project=11)) as job:
        assert job.begin() == 0
        _build_and_keep(job, "echo CACHE-OF-PROJECT-11 >/cache/x")
    kept = host.digests(host.CACHE)
    assert {"11-protected.tar", "11-unprotected.tar"} <= set(kept)
    with Runner(Response(project=11, protected=True, ref_type="tag")) as job:
        assert job.begin() == 0
        _build_and_keep(job, "echo CACHE-OF-PROJECT-11 >/cache/x")
    assert host.digests(host.CACHE)["11-protected.tar"] == kept["11-protected.tar"]
    kept = host.digests(host.CACHE)
    # All that it says of itself names project 11 and a protected branch: HOSTILE.
    for project in (11, 12):
        with Runner(Response(project=project)) as job:
            assert job.begin() == 0
            script = (
                "cat $(find /cache /builds -type f) || true; echo BAD >/cache/x; ln -s ../11-protected.tar /cache/y"
            )
            _build_and_keep(job, script)
            assert "PROTECTED-BRANCH" not in job.log
            assert ("CACHE-OF-PROJECT-11" in job.log) == (project == 11)
        now = host.digests(host.CACHE)
        assert now["11-protected.tar"] == kept["11-protected.tar"]
        assert (now["11-unprotected.tar"] != kept["11-unprotected.tar"]) == (project == 11)
        kept["11-unprotected.tar"] = now["11-unprotected.tar"]


def old_caches_go() -> None:
    old = host.CACHE / "99-unprotected.tar"
    old.touch()
    os.utime(old, (0, 0))
    with Runner() as job:
        assert job.begin() == 0
    assert not old.exists()
    assert host.digests(host.CACHE)


def secrets_are_for_protected_branches_of_their_project() -> None:
    own = host.SECRETS / "11"
    own.mkdir(parents=True)
    (own / "token").write_text("SECRET-OF-PROJECT-11")
    host.give_to_user(host.SECRETS, own, own / "token")
    (own / "token").chmod(0o400)
    seek = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline || true; cat $(find /run /builds /cache -type f) || true"
    given = (11, True, "branch")
    for asked in (given, (11, False, "branch"), (11, "true", "branch"), (12, True, "branch"), (11, True, "tag")):
        project, protected, kind = asked
        with Runner(Response(project=project, protected=protected, ref_type=str(kind))) as job:
            assert job.begin() == 0
            job.script("build_script", seek)
            assert ("SECRET-OF-PROJECT-11" in job.log) == (asked == given)
            assert "TOKEN-OF" not in job.log
            assert not [name for name in HOSTILE if f"CUSTOM_ENV_{name}" in job.log]


def nothing_outlives_its_stage_or_its_job() -> None:
    with Runner() as job:
        assert job.begin() == 0
        leave = "setsid sleep 300 & (trap '' TERM HUP INT; setsid sleep 301 &) ; echo done"
        assert job.script("build_script", leave) == 0
        assert len(host.processes()) <= 2
        # The job takes its own container down: what follows is no fault of this host.
        host.end_from_outside(host.first_process())
        assert job.script("after_script", "true") == BUILD_FAILURE


def process_1_is_not_the_jobs() -> None:
    """A job that may write to its memory (proc(5), /proc/PID/mem) has a process that outlives every stage."""
    write = """
        read line </proc/1/maps
        dd if=/dev/zero of=/proc/1/mem bs=4096 count=400 seek=$((0x${line%%-*} / 4096 + 1)) conv=notrunc"""
    with Runner() as job:
        assert job.begin() == 0
        first = host.first_process()
        assert job.script("build_script", write) == BUILD_FAILURE, job.log
        assert job.script("after_script", "true") == 0, job.log
        assert host.first_process() == first


def jobs_at_the_same_time_are_apart() -> None:
    def of_neighbour() -> list[int]:
        return [number for number in host.processes() if host.command(number) == ["sleep", "300"]]

    with Runner() as job, Runner(Response(number=2, project=11)) as neighbour:
        assert [job.begin(), neighbour.begin()] == [0, 0]
        running = neighbour.start("run", *neighbour.written("sleep 300"), "build_script")
        wait_until(lambda: bool(of_neighbour()), "the neighbour's job")
        before = of_neighbour()
        ranges = {Path(f"/proc/{number}/uid_map").read_text() for number in host.processes()}
        first, second = sorted(int(line.split()[1]) for line in ranges)
        assert second - first >= 4096
        job.script("build_script", "kill -9 -1")
        assert job.script("after_script", "sleep 300 & true") == 0
        assert job.stage("cleanup") == 0
        assert of_neighbour() == before
        end(running, signal.SIGKILL)


def hostile_names_are_only_names() -> None:
    keep = Path("/home/ci/keep/file")
    keep.parent.mkdir()
    keep.touch()
    host.give_to_user(keep.parent, keep)
    names = [f"{host.IMAGE}; rm -rf /home/ci/keep", f"{host.IMAGE}\n--privileged", "--privileged", "../../etc", ""]
    names += [
        "$(touch /home/ci/owned)",
        f"{host.IMAGE}\x1b[2J",
        "docker.io/library/debian",
        host.IMAGE.upper(),
        "x" * 10**6,
    ]
    images: list[object] = [{"name": name} for name in names]
    for image in [*images, {"name": ["-v", "/:/host"]}, None, host.IMAGE]:
        job = Runner(Response(image=image))
        assert job.stage("prepare") == BUILD_FAILURE
        assert "\x1b" not in job.log
        assert len(job.log) < 2000
    wrong: list[object] = ["../../home/ci/keep", True, -1, 2**63]  # more of them: tests/ci/test_executor.py
    for number in wrong:
        for response in (Response(number=number), Response(project=number)):
            job = Runner(response)
            assert [job.stage("prepare"), job.stage("cleanup")] == [SYSTEM_FAILURE] * 2
    assert keep.exists()
    assert not Path("/home/ci/owned").exists()


def a_job_without_end_is_ended() -> None:
    with Runner() as job:
        assert job.begin() == 0
        for signals in ([signal.SIGTERM], [signal.SIGKILL]):
            process = job.start(
                "run", *job.written("trap '' TERM HUP INT; while :; do sleep 300; done"), "build_script"
            )
            wait_until(lambda: len(host.processes()) >= 4, "the job")
            end(process, *signals)
    for event in (host.processes, lambda: list(host.STATE.glob("*"))):
        with Runner() as job:  # prepare is killed at its beginning, and when the container is there
            assert job.stage("config") == 0
            process = job.start("prepare")
            wait_until(lambda event=event: bool(event()), "prepare")  # type: ignore[misc]
            end(process, signal.SIGKILL)
    lost = Runner()
    assert lost.begin() == 0  # and the runner is killed: no cleanup
    assert host.processes()
    host.run_as_user("onionmx-ci", "sweep")


PROOFS = (
    an_honest_job_runs_with_its_cache,
    failures_of_the_job_and_of_the_host_are_kept_apart,
    a_fork_bomb_stays_in_its_limit_and_ends_with_its_stage,
    a_full_disk_is_the_jobs_own,
    image_and_job_cannot_choose_what_runs_first,
    sockets_and_files_of_the_host_are_out_of_reach,
    network.the_network_of_jobs_ends_at_the_allowed_hosts,
    caches_of_others_are_neither_read_nor_written,
    old_caches_go,
    secrets_are_for_protected_branches_of_their_project,
    nothing_outlives_its_stage_or_its_job,
    process_1_is_not_the_jobs,
    jobs_at_the_same_time_are_apart,
    hostile_names_are_only_names,
    a_job_without_end_is_ended,
)
