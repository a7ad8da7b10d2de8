"""A small file system for one program: a tmpfs in a mount namespace, which ends with the program."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from os.path import ismount
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory


@cache
def with_own_mounts() -> list[str]:
    """The words in front of a command that run it, as root, in a mount namespace of its own."""
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    words = ["unshare", *root, "--mount"]
    if run([*words, "--", "true"], capture_output=True, check=False).returncode:
        # The root of a chroot need not be a mount point; then it cannot be made private, and should be already.
        words += ["--propagation", "unchanged"]
        with TemporaryDirectory() as folder:
            run([*words, "--", "mount", "-t", "tmpfs", "tmpfs", folder], check=True)
            if ismount(folder):
                run(["umount", folder], check=True)
                raise RuntimeError("mounts of this chroot show outside: enter it by `unshare --mount chroot ROOT`")
    return [*words, "--"]


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount it; the program must run `with_own_mounts`.

    Args:
        folder: where.
        size: bytes.
    """
    run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        run(["umount", str(folder)], check=True)
