"""The life of the package on one machine: install, upgrade, remove, install again, purge; nothing may be left.

    python3 package_life.py PACKAGE

Runs as root inside a root of Debian or on a booted machine, and needs Python alone. On a booted machine the units are
watched as well. Without network, as an installation must work: start it under `unshare --net` where there is one.
"""

import grp
import hashlib
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

CONFIGURATION = Path("/etc/onionmx/onionmx.toml")
PRIVATE = Path("/usr/lib/onionmx")
SERVICES = ("onionmx-relay.service", "onionmx-serve.service")
UNITS = ("onionmx-relay.socket", *SERVICES, "onionmx-serve.socket", "onionmx-sync.timer")
USER = "onionmx"
STATE = Path("/var/lib/onionmx")
SETUP = Path("/var/lib/onionmx-setup/manifest.json")
PASSWORD = Path("/etc/onionmx/store-password")
SKIPPED = frozenset({"/dev", "/proc", "/run", "/sys", "/tmp", "/root", "/var/tmp", "/var/cache", "/var/log"})  # noqa: S108
CHANGING = (
    *("/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd", "/etc/ld.so.cache"),
    *(f"/etc/{name}{backup}" for name in ("passwd", "group", "shadow", "gshadow") for backup in ("", "-")),
    *("/etc/.pwd.lock", "/etc/subuid", "/etc/subgid", "/etc/subuid-", "/etc/subgid-"),
)
"""What dpkg, systemd and the system user change; stamps of timers are looked at by name."""
IS_BOOTED = Path("/run/systemd/system").is_dir()
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


class LifeError(AssertionError):
    """The package did not do what it should."""


def run(*words: str | Path, code: int = 0, environment: Mapping[str, str] | None = None) -> str:
    """Run a command, which must end with this code; return what it printed."""
    ended = subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        env=ENVIRONMENT | dict(environment or {}),
        stdin=subprocess.DEVNULL,
    )
    if ended.returncode != code:
        raise LifeError(f"{' '.join(map(str, words))}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def require(*, holds: bool, what: str) -> None:
    """Raise the error of this module where something does not hold."""
    if not holds:
        raise LifeError(what)


def snapshot() -> dict[str, str]:
    """Every file with its kind, mode and owner; those in /etc with their content."""
    found = {}
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in SKIPPED]  # noqa: PTH118 -- many
        for name in (*folders, *files):
            path = Path(folder, name)
            if str(path).startswith(CHANGING):
                continue
            status = path.lstat()
            content = ""
            if path.is_symlink():
                content = str(path.readlink())
            elif folder.startswith("/etc") and path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path)] = f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {content}"
    return found


def unchanged(before: dict[str, str], what: str) -> None:
    """Require that every file is as it was."""
    after = snapshot()
    lost = [f"gone: {path}" for path in before.keys() - after.keys()]
    left = [f"left: {path}" for path in after.keys() - before.keys()]
    changed = [f"changed: {path}" for path in before.keys() & after.keys() if before[path] != after[path]]
    found = sorted((*lost, *left, *changed))
    require(holds=not found, what="\n".join((f"{what}:", *found)))


def newer(package: Path, folder: Path) -> Path:
    """The same package with a higher version."""
    run("dpkg-deb", "--raw-extract", package, folder / "tree")
    control = folder / "tree/DEBIAN/control"
    version = run("dpkg-deb", "--field", package, "Version").strip()
    control.write_text(control.read_text().replace(f"Version: {version}\n", f"Version: {version}+1\n"))
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", folder / "tree", folder / "newer.deb")
    return folder / "newer.deb"


def install(package: Path) -> None:
    """Install a file as an administrator does, and look whether all of it is there and works."""
    run("apt-get", "-q", "-y", "--no-install-recommends", "install", package)
    require(
        holds=run("dpkg", "--verify", "onionmx").replace(f"??5?????? c {CONFIGURATION}", "").strip() == "",
        what="dpkg --verify",
    )
    require(holds=run("dpkg", "--audit") == "", what="dpkg --audit")


def programs_work() -> None:
    """Every command answers, from any folder, whatever the environment says; and running them leaves no file."""
    before = snapshot()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "onionmx.py").write_text("raise SystemExit('not this one')")
        hostile = {"PYTHONPATH": folder, "PYTHONHOME": folder, "HOME": folder}
        require(holds=run("onionmx", "--version", environment=hostile).startswith("onionmx "), what="onionmx --version")
        commands = [
            line.split()[0]
            for line in run("onionmx", "--help").partition("Commands:")[2].splitlines()
            if line[:3].strip()
        ]
        for command in commands:
            run("onionmx", command, "--help", environment=hostile)
        run("onionmx-route", "--help", environment=hostile)
        run("onionmx-route", "example.org", code=75, environment=hostile)
    for name in run("onionmx", "files").split():
        require(holds=Path(run("onionmx", "files", name).strip()).is_file(), what=f"onionmx files {name}")
    everything = (
        "import onionmx, pkgutil, importlib; [importlib.import_module(each.name) for each in "
        "pkgutil.walk_packages(onionmx.__path__, 'onionmx.') if not each.name.endswith('__main__')]"
    )
    run(PRIVATE / "bin/python3", "-I", "-c", everything)
    require(
        holds=run("onionmx", "config", "--config", CONFIGURATION) == run("onionmx", "config", "--config", "/dev/null"),
        what="the installed configuration changes a default",
    )
    unchanged(before, "running it")


def shown(unit: str, name: str) -> str:
    """What systemd says of a unit, which need not exist."""
    return run("systemctl", "show", "-P", name, unit).strip()


def units_are_idle() -> None:
    """Nothing is enabled or started by an installation."""
    if IS_BOOTED:
        for unit in UNITS:
            require(holds=shown(unit, "ActiveState") == "inactive", what=f"{unit} runs")
            require(holds=shown(unit, "UnitFileState") == "disabled", what=f"{unit} is enabled")
        pwd.getpwnam(USER)


def as_once() -> None:
    """Leave state, notes of setup and a secret as a version did whose sync ran as root."""
    (STATE / "setup").mkdir(mode=0o700)
    (STATE / "setup" / SETUP.name).write_text("{}")
    (STATE / "state.sqlite").touch(mode=0o600)
    (STATE / "link").symlink_to(CONFIGURATION)
    PASSWORD.touch(mode=0o600)
    CONFIGURATION.with_suffix(".toml.d").mkdir()
    CONFIGURATION.with_suffix(".toml.d").joinpath("store.toml").write_text(
        f'[sync]\nstore_password_file = "{PASSWORD}"\n'
    )
    run("chown", "-Rh", "root:root", STATE)


def is_handed_over() -> None:
    """The user of sync has his files and his secret, and nothing of root's; what setup noted is out of his reach."""
    user = pwd.getpwnam(USER)
    for path in (STATE, STATE / "state.sqlite", STATE / "link", PASSWORD):
        require(holds=path.lstat().st_uid == user.pw_uid, what=f"{path} does not belong to {USER}")
    for path in (CONFIGURATION, SETUP, SETUP.parent, SETUP.parent.parent):
        require(holds=path.stat().st_uid == 0, what=f"{path} does not belong to root")
    require(holds=not (STATE / "setup").exists(), what="what setup noted is where sync's user could replace it")
    require(holds=USER in grp.getgrnam("adm").gr_mem, what=f"{USER} may not read mail logs")


def process_ids() -> dict[str, str]:
    """The main process of each service; each must be running."""
    for unit in SERVICES:
        run("systemctl", "is-active", unit)
    return {unit: shown(unit, "MainPID") for unit in SERVICES}


def main(package: Path) -> None:
    """Live through all of it."""
    before = snapshot()
    with tempfile.TemporaryDirectory() as folder:
        upgrade = newer(package, Path(folder))
        install(package)
        programs_work()
        units_are_idle()
        say("installed")

        changed = CONFIGURATION.read_text() + "# a line of the administrator\n"
        CONFIGURATION.write_text(changed)
        Path("/etc/onionmx/pins").write_text("example.com none\n")
        running = {}
        if IS_BOOTED:
            run("systemctl", "enable", "--now", *UNITS)
            running = process_ids()
        as_once()
        install(upgrade)
        is_handed_over()
        if IS_BOOTED:
            now = process_ids()
            require(holds=not set(running.values()) & set(now.values()), what=f"not restarted: {running} {now}")
        require(holds=CONFIGURATION.read_text() == changed, what=f"the upgrade has changed {CONFIGURATION}")
        say("upgraded")

        run("apt-get", "-q", "-y", "remove", "onionmx")
        require(holds=not PRIVATE.exists(), what=f"removal has left {PRIVATE}")
        require(holds=CONFIGURATION.read_text() == changed, what=f"removal has changed {CONFIGURATION}")
        if IS_BOOTED:
            for unit in UNITS:
                require(holds=shown(unit, "ActiveState") == "inactive", what=f"{unit} runs after the removal")
        say("removed")

        install(upgrade)
        require(holds=CONFIGURATION.read_text() == changed, what=f"installing again has changed {CONFIGURATION}")
        if IS_BOOTED:
            run("systemctl", "start", *UNITS)
            process_ids()
        run("apt-get", "-q", "-y", "purge", "onionmx")
        require(holds=SETUP.exists(), what="purge has removed what undoes a set-up")
        install(upgrade)
        SETUP.unlink()
        run("apt-get", "-q", "-y", "purge", "onionmx")
    unchanged(before, "purge")
    require(holds=not list(Path("/var/lib/systemd").rglob("*onionmx*")), what="purge has left stamps of timers")
    require(holds=not list(Path("/run").glob("onionmx*")), what="purge has left something in /run")
    say("purged")


def say(what: str) -> None:
    """Tell how far it is."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
