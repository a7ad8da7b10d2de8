"""The HiddenServiceDir of a new service, in order before tor sees it.

A running tor that cannot make or read one does not refuse the new configuration: it ends. `tor --verify-config` does
not look at the folder either.
"""

import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.errors import ConfigurationError
from onionmx.tor.service.tor_files import FOLDER_MODE

if TYPE_CHECKING:
    from stem.control import Controller


def tor_user(controller: "Controller", configured: str) -> pwd.struct_passwd | None:
    """The user that tor runs as; `None` where this machine does not know it.

    What root does for tor's user it does for the one of the configuration, whatever a control port names.

    Args:
        configured: `tor.user`.

    Raises:
        ConfigurationError: this process is root's, and tor runs as another user than is configured.
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    named = controller.get_conf("User", None) or controller.get_info("process/user")
    if os.geteuid() != 0:
        return _user(named)
    known = _user(configured)
    if known is None or known != (_user(named) or known):
        raise ConfigurationError(f"tor runs as {named!r}, and tor.user is {configured!r}: set tor.user to tor's user")
    return known


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(name)) if name.isascii() and name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        return None


def configured_user(configured: str) -> pwd.struct_passwd | None:
    """The user to whom root gives the files of tor; `None` for a process that is not root's.

    Args:
        configured: `tor.user`.

    Raises:
        ConfigurationError: this machine does not know it.
    """
    if os.geteuid() != 0:
        return None
    known = _user(configured)
    if known is None:
        raise ConfigurationError(f"tor.user is {configured!r}, whom this machine does not know: install tor first")
    return known


def is_same_folder(directory: str | None, wanted: Path) -> bool:
    """Whether the HiddenServiceDir of a service, where it has one, is this folder."""
    return directory is not None and os.path.normpath(directory) == os.path.normpath(wanted)


def check_place(controller: "Controller", directory: Path, others: Iterable[str | None]) -> None:
    """Refuse a folder where tor may not be able to write.

    Distributions confine tor to its DataDirectory (systemd, AppArmor), which no look at owner and mode shows. Where
    it has another service, it can write too.

    Args:
        directory: the HiddenServiceDir to be.
        others: folders of the services that tor runs.

    Raises:
        ConfigurationError: neither below the DataDirectory nor beside another service.
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    data = Path(controller.get_conf("DataDirectory"))
    parent = Path(os.path.normpath(directory)).parent
    if not parent.is_relative_to(data) and parent not in {Path(other).parent for other in others if other}:
        raise ConfigurationError(
            f"{directory} is not in tor's DataDirectory {data}: tor may have no right to write there, and would end; "
            f"choose --directory {data / directory.name}"
        )


@contextmanager
def prepared(directory: Path, user: pwd.struct_passwd | None) -> Iterator[None]:
    """Make the folder, or see to it that tor can use what is there; taken away again where the body raises.

    Args:
        directory: the HiddenServiceDir.

    Raises:
        ConfigurationError: it cannot be made, or it is there and not tor's.
    """
    owner = (os.geteuid(), os.getegid()) if user is None else (user.pw_uid, user.pw_gid)
    made = _make(directory, owner)
    if not made:
        _check(directory, owner[0])
    try:
        yield
    except BaseException:
        if made:
            with suppress(OSError):  # keys that tor has made by now stay
                directory.rmdir()
        raise


def _make(directory: Path, owner: tuple[int, int]) -> bool:
    try:
        directory.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigurationError(
            f"{directory} cannot be made: {error.strerror}; run as root or as tor's user"
        ) from error
    try:
        os.chown(directory, *owner, follow_symlinks=False)
    except OSError as error:
        directory.rmdir()
        raise ConfigurationError(f"{directory} cannot be given to tor's user: {error.strerror}; run as root") from error
    return True


def _check(directory: Path, owner: int) -> None:
    try:
        if not directory.is_dir():
            raise ConfigurationError(f"{directory} is there and is not a folder; nothing was changed")
        for path in (directory, *directory.iterdir()):
            status = path.stat()
            if status.st_uid != owner:
                raise ConfigurationError(
                    f"{path} belongs to user {status.st_uid}, not to tor's, {owner}: chown -R {owner} {directory}"
                )
            if path != directory and not path.is_dir() and not status.st_mode & stat.S_IRUSR:
                raise ConfigurationError(f"{path} cannot be read by tor: chmod 0600 {path}")
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be looked at: {error.strerror}; run as root") from error
