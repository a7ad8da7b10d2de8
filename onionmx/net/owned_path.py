"""Files that nobody but root and some named users can put in place or change."""

import stat
from collections.abc import Sequence
from pathlib import Path

from onionmx.errors import OwnerError
from onionmx.net.users import is_believed

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def check_path(path: Path, users: Sequence[str]) -> None:
    """Refuse a file that others can put in place or change.

    Args:
        path: the file; links are followed.
        users: names or numbers of users it may belong to, besides root and this process's own.

    Raises:
        OwnerError: it, or a folder above it, belongs to somebody else or can be written by others; in a folder such
            as /tmp others may write, but not replace what is not theirs (sticky(7)).
    """
    try:
        for place in (found := path.resolve(strict=True), *found.parents):
            status = place.stat()
            is_shared = status.st_mode & _WRITABLE and not (
                stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
            )
            if is_shared or not is_believed(status.st_uid, users):
                names = " and ".join(dict.fromkeys(("root", *users)))
                raise OwnerError(
                    f"{place} can be changed by others than {names} (user {status.st_uid}, "
                    f"mode {stat.S_IMODE(status.st_mode):04o})"
                )
    except OSError as error:
        raise OwnerError(f"{path} cannot be looked at: {error.strerror}") from error
