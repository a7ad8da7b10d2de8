"""Paths inside a root, whose links must not lead out of it."""

import os
from pathlib import Path

_MOST_LINKS = 40  # as the kernel (path_resolution(7))


def resolved(root: Path, name: str) -> Path:
    """Where a path of a root is, with its links as they are for a program in it.

    Raises:
        OSError: it is not there, or its links go round.
    """
    links = 0
    rest = [part for part in name.split("/") if part]
    parts: list[str] = []
    while rest:
        part = rest.pop(0)
        if part == "..":
            parts = parts[:-1]
            continue
        if part == ".":
            continue
        path = root.joinpath(*parts, part)
        if not path.is_symlink():
            parts.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(40, os.strerror(40), str(path))
        target = os.readlink(path)  # noqa: PTH115 -- the text as it is
        if target.startswith("/"):
            parts = []
        rest = [each for each in target.split("/") if each] + rest
    found = root.joinpath(*parts)
    found.lstat()
    return found
