import os
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable

import pytest

from onionmx.errors import LockedError, MapError
from onionmx.mapfile.cdb import MapReader
from onionmx.mapfile.write import publish, publish_records, writer_lock
from tests.mapfile.maps import A


def test_map_is_readable_for_the_mta_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        path = tmp_path / "map.cdb"
        publish(path, {"example.org": ((A, 25),)})
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_failure_while_writing_leaves_the_old_map_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "map.cdb"
    publish(path, {"example.org": ((A, 25),)})
    before = path.read_bytes()

    def records() -> Iterator[tuple[bytes, bytes]]:
        yield b"example.net", A.encode()
        raise OSError(28, "No space left on device")

    with pytest.raises(MapError, match="No space left on device; the old one stays"):
        publish_records(path, records())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MapError, match=r"none/map\.cdb cannot be written"):
        publish(tmp_path / "none" / "map.cdb", {})


def test_map_beyond_four_gigabytes_is_refused(tmp_path: Path) -> None:
    class Huge(bytes):
        __slots__ = ()

        def __len__(self) -> int:
            return 0xFFFFFFFF

    with pytest.raises(MapError, match="4 GiB"):
        publish_records(tmp_path / "map.cdb", [(b"example.org", Huge())])
    assert list(tmp_path.iterdir()) == []


def test_second_writer_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "map.cdb"
    code = "import sys; from pathlib import Path; from onionmx.mapfile.write import writer_lock\n"
    code += "with writer_lock(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
    with Popen([executable, "-c", code, path], stdin=PIPE, stdout=PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(LockedError, match="another process is writing"), writer_lock(path):
            pass
        other.kill()
        other.wait()
    with writer_lock(path):
        publish(path, {})
    with MapReader(path) as reader:
        assert len(reader) == 0


def test_lock_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "map.cdb.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MapError, match="cannot be written"), writer_lock(tmp_path / "map.cdb"):
        pass
    assert not (tmp_path / "elsewhere").exists()
