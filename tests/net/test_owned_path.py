"""Files that others can change are told from files that they cannot."""

import os
from pathlib import Path

import pytest

from onionmx.errors import OwnerError
from onionmx.net.owned_path import check_path

OWN = os.geteuid()


def test_files_that_others_can_change(tmp_path: Path) -> None:
    file = tmp_path / "cookie"
    file.touch(0o600)
    check_path(file, ())
    for place, mode in ((file, 0o602), (tmp_path, 0o777), (file, 0o620)):
        before = place.stat().st_mode
        place.chmod(mode)
        with pytest.raises(OwnerError, match="can be changed by others than root"):
            check_path(file, ())
        place.chmod(before)
    with pytest.raises(OwnerError, match="cannot be looked at"):
        check_path(tmp_path / "none", ())


def test_file_of_a_stranger(tmp_path: Path) -> None:
    if OWN != 0:
        return  # only root can give a file away
    file = tmp_path / "cookie"
    file.touch(0o600)
    os.chown(file, 65534, 65534)
    with pytest.raises(OwnerError, match=r"than root and no-such-user \(user 65534, mode 0600\)"):
        check_path(file, ("no-such-user",))
    check_path(file, ("65534",))
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(OwnerError):
        check_path(link, ())
