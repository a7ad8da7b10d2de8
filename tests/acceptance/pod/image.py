"""The image: built twice by an ordinary user, and what the host sees of it and of a shell in it."""

import json
import shlex
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

from tests.acceptance.package import export

from .host import FIRST_SUBUID, HOME, Host
from .seen import assert_harmless, processes

IMAGE = "localhost/onionmx:latest"
USER_INSIDE = 65534
UID_OUTSIDE = FIRST_SUBUID + USER_INSIDE - 1
LARGEST = 130_000_000  # bytes
_STORAGE = f"{HOME}/.local/share/containers/storage"
_PROJECT = f"{HOME}/onionmx"


class ImageError(Exception):
    """The image is not as it should be."""


def build_twice(host: Host, package: Path) -> None:
    """Build it from nothing two times, and compare the digests."""
    project = host.path(_PROJECT)
    export(project)
    (project / "dist").mkdir()
    shutil.copy(package, project / "dist/onionmx_built.deb")
    _give(project)
    digests = []
    for _ in range(2):
        host.run(f"cd {_PROJECT} && make image")
        digests.append(host.run(f"podman image inspect --format '{{{{.Digest}}}}' {IMAGE}"))
        # Nothing of the first may help the second.
        if len(digests) == 1:
            host.run("podman image rm --all --force")
    if len(set(digests)) != 1:
        raise ImageError(f"twice the same packages, two images: {digests}")


def look_at_image(host: Host) -> None:
    """What it is made of and says of itself."""
    found = host.inspect(IMAGE, "image")
    config: dict[str, Any] = found["Config"]
    expected = {"User": f"{USER_INSIDE}:{USER_INSIDE}", "Entrypoint": None, "Volumes": None, "ExposedPorts": None}
    wrong = {name: config.get(name) for name, value in expected.items() if config.get(name) != value}
    if wrong or not found["Healthcheck"]["Test"]:
        raise ImageError(f"the image has {wrong}, health check {found.get('Healthcheck')}")
    labels = {f"org.opencontainers.image.{name}" for name in ("title", "version", "licenses", "created", "revision")}
    if missing := {name for name in labels if not config["Labels"].get(name)}:
        raise ImageError(f"labels are missing: {missing}")
    print(f"image: {found['Size']} bytes", flush=True)
    if found["Size"] > LARGEST:
        raise ImageError(f"{found['Size']} bytes are too many")
    layers = host.path(f"{_STORAGE}/overlay")
    files = [path for path in layers.rglob("*") if path.is_file() and not path.is_symlink()]
    names = {path.name for path in files}
    if not {"tor", "onionmx", "dash"} <= names:
        raise ImageError(f"{layers} is not the image")
    if special := [path for path in files if path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID)]:
        raise ImageError(f"setuid: {special}")
    for name in ("apt-get", "dpkg", "perl", "curl", "mount", "su", "machine-id", "secret_id_key"):
        if name in names:
            raise ImageError(f"the image has {name}")
    [bill_file] = host.path(f"{_PROJECT}/dist").glob("onionmx-*-image.cdx.json")
    bill = json.loads(bill_file.read_text())
    versions = {each["name"]: each["version"] for each in bill["components"]}
    said = host.run(f"podman run --rm --network=none {IMAGE} tor --version")
    if versions["tor"].partition("-")[0] not in said or "aiosmtpd" not in versions:
        raise ImageError(f"the bill of materials says tor {versions['tor']}, the image {said}")


def look_at_a_shell(host: Host) -> None:
    """Run a shell in the place of what the image would run, and look at it from outside."""
    options = "--read-only --cap-drop=all --security-opt=no-new-privileges"
    command = host.command(
        *("podman", "run", "--rm", "--interactive", "--no-healthcheck", "--network=none", *options.split()),
        *("--name=shell", "--entrypoint=/bin/sh", IMAGE, "-c", "echo here; read -r line"),
    )
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        if shell.stdout is None or shell.stdout.readline() != "here\n":
            raise ImageError("no shell in the image")
        [process] = processes(host, "shell")
        assert_harmless(process, UID_OUTSIDE)
        if host.run(f"podman exec shell {health_check(host)} && echo well", check=False):
            raise ImageError("the health check of the image finds a container well in which no relay is")
        shell.communicate("\n")
    # Without any option but the entrypoint: the image itself makes nobody root.
    said = host.run(
        f"podman run --rm --network=none --entrypoint=/bin/sh {IMAGE} -c 'read -r a </proc/self/uid_map; "
        "while read -r name first rest; do case $name in Uid:|CapEff:) echo $name $first;; esac; "
        "done </proc/self/status'"
    )
    if said.split() != ["Uid:", str(USER_INSIDE), "CapEff:", "0000000000000000"]:
        raise ImageError(f"the shell of the image: {said}")


def health_check(host: Host) -> str:
    """The words of the image's own health check, for a shell."""
    return shlex.join(host.inspect(IMAGE, "image")["Healthcheck"]["Test"][1:])


def _give(project: Path) -> None:
    subprocess.run(["chown", "-R", "1000:1000", str(project)], check=True)
