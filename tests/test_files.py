"""Files of other users: what is no file is not read."""

import os
from pathlib import Path

import pytest

from onionmx.errors import ConfigurationError
from onionmx.files import NotRegularError, read_configured, read_regular, read_secret


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
