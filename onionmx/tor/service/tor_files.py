"""Files that belong to tor, changed with no more rights than tor has itself."""

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from onionmx.errors import ConfigurationError
from onionmx.files import read_regular, replacing

FILE_MODE = 0o600
FOLDER_MODE = 0o700  # tor takes no other


@contextmanager
def acting_as(user: pwd.struct_passwd | None) -> Iterator[None]:
    """Be able to do what tor's user can and no more: in its folders, a link may lead anywhere.

    Files that are made belong to it. Only root can become another user; others stay who they are.

    Args:
        user: as `folder.tor_user` gives it.
    """
    if os.geteuid() != 0 or user is None or user.pw_uid == 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def owner_of(folder: Path) -> pwd.struct_passwd | None:
    """As whom root writes in a folder: its owner, or that of the folder in which it will be made. `None` for others.

    A link is its owner's, wherever it leads: so root writes nowhere because somebody else wants it to.

    Raises:
        ConfigurationError: it cannot be looked at, or this machine does not know its owner.
    """
    if os.geteuid() != 0:
        return None
    try:
        status = folder.lstat() if os.path.lexists(folder) else folder.parent.stat()
        return pwd.getpwuid(status.st_uid)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be looked at: {error.strerror}") from error
    except KeyError as error:
        raise ConfigurationError(f"{folder}: this machine does not know its owner, user {status.st_uid}") from error


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Say in one line what of a folder cannot be changed.

    Raises:
        ConfigurationError: in the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        what = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else folder
        raise ConfigurationError(
            f"{what} cannot be changed: {error.strerror or error}; run as root or as tor's user; nothing was changed"
        ) from error


@contextmanager
def changed(files: Mapping[Path, bytes | None], user: pwd.struct_passwd | None) -> Iterator[None]:
    """Write or remove files as tor's user, and put back what was there where the body raises.

    Args:
        files: their new contents; `None` to remove one.
        user: as for `acting_as`; the body has the rights of before.

    Raises:
        ConfigurationError: one cannot be changed; none was.
    """
    with acting_as(user), unwritable(Path()):
        before = {path: _content(path) for path in files}
        try:
            _put(files)
        except BaseException:
            _put(before)
            raise
    try:
        yield
    except BaseException:
        with acting_as(user):
            _put(before)
        raise


def _content(path: Path) -> bytes | None:
    try:
        return read_regular(path)
    except FileNotFoundError:
        return None


def _put(files: Mapping[Path, bytes | None]) -> None:
    # What is new first: at no time is a private service without a client that tor could read.
    for path, content in sorted(files.items(), key=lambda item: item[1] is None):
        if content is None:
            path.unlink(missing_ok=True)
            continue
        with replacing(path, FILE_MODE) as file:
            file.write(content)
