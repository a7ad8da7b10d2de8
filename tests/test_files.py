"""Files of other users: what is no file is not read."""

import os
import stat
from pathlib import Path

import pytest

from onionmx.errors import ConfigurationError
from onionmx.files import NotRegularError, creating, read_configured, read_regular, read_secret


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").write_bytes(b"content")
    for name in ("fifo", "endless"):
        with pytest.raises(NotRegularError, match="no regular file"):
            read_regular(tmp_path / name)
        with pytest.raises(ConfigurationError, match=r"local\.file .* cannot be read: it is no regular file"):
            read_configured(tmp_path / name, "local.file")
        with pytest.raises(ConfigurationError, match="no regular file"):
            read_secret(tmp_path / name, "the password")
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)
    with pytest.raises(OSError, match="larger than 6 bytes"):
        read_regular(tmp_path / "link", 6)
    assert read_regular(tmp_path / "link", 7) == b"content"


def test_a_file_that_became_another_one_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    status = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda _path: status)
    with pytest.raises(NotRegularError):
        read_regular(tmp_path / "fifo")


def test_new_file_is_its_owners_alone_and_never_another_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with creating(path) as file:
        file.write(b"secret")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"secret"
    (tmp_path / "link").symlink_to("elsewhere")
    for there in (path, tmp_path / "link"):
        with pytest.raises(FileExistsError), creating(there):
            pass
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file", "link"]
    assert path.read_bytes() == b"secret"


def test_file_that_was_not_finished_is_gone(tmp_path: Path) -> None:
    with pytest.raises(TypeError), creating(tmp_path / "file") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert not list(tmp_path.iterdir())
