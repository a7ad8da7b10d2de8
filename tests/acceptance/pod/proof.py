"""The part of the acceptance."""

import subprocess
import sys
from pathlib import Path

from tests.acceptance.package import online

from .host import host, prepare
from .image import build_twice, look_at_a_shell, look_at_image

RELEASE = "trixie"
"""The oldest with Quadlet's `.pod` (podman 5.0)."""


def prove(root: Path, package: Path) -> None:
    """Build the image, look at it, run the pod.

    Args:
        root: of the release, to be changed.
        package: to be put into the image.
    """
    prepare(root, dict(online(root)))
    with host(root) as running:
        build_twice(running, package)
        look_at_image(running)
        look_at_a_shell(running)
        command = ["unshare", "--net", sys.executable, "-u", "-m", "tests.acceptance.pod.delivery"]
        subprocess.run([*command, str(root), str(running.pid)], check=True)
