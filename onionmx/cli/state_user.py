"""Root gives its rights away where another user owns the map: what it would leave there he could not write."""

import grp
import os
import pwd
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from stat import S_IXOTH

import rich

from onionmx.config import Configuration
from onionmx.credential import hold_credentials
from onionmx.errors import ConfigurationError
from onionmx.privileges import become

LOG_READERS = "adm"
"""The group that may read mail logs, as Debian has them."""


def become_owner(folder: Path, secrets: Iterable[str] = ()) -> None:
    """Become the user who owns a folder, for good, with his groups; nothing happens to anybody but root.

    Files that root made in it could not be written by him at his next run, and root would follow the links that he
    has put there.

    Args:
        folder: of map and state. Where it does not exist yet, the first one above it counts.
        secrets: that are needed later, as `read_named_secret` takes them: credentials only root can read.

    Raises:
        ConfigurationError: it cannot be looked at, or the rights cannot be given away, or a credential cannot be read.
    """
    if os.geteuid() != 0:
        return
    hold_credentials(secrets)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    try:
        owner = existing.stat()
        if owner.st_uid != 0:
            _become(owner.st_uid, owner.st_gid)
    except (OSError, ImportError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"cannot become the user who owns {existing}: {why}") from error


def become_reader(configuration: Configuration) -> None:
    """Become the user who owns the map, to ask for routes and onions; root stays root to read what daemons remember.

    So it does where the program is in a folder of root alone, such as /root: what Python loads later could not be read.

    Raises:
        ConfigurationError: as `become_owner` does.
    """
    if not configuration.lookup.live and all(map(_is_open_to_all, (__file__, rich.__file__))):
        become_owner(Path(configuration.map.path).parent)


def _is_open_to_all(file: str) -> bool:
    return all(folder.stat().st_mode & S_IXOTH for folder in Path(file).resolve().parents)


def _become(uid: int, gid: int) -> None:
    groups = {gid}
    with suppress(KeyError):  # a user of a container, perhaps
        user = pwd.getpwuid(uid)
        gid = user.pw_gid
        groups |= {gid, *os.getgrouplist(user.pw_name, gid)}
        os.environ["HOME"] = user.pw_dir
    with suppress(KeyError):
        groups.add(grp.getgrnam(LOG_READERS).gr_gid)
    become(uid, gid, groups)
