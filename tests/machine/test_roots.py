from pathlib import Path

import pytest

from onionmx.errors import LockedError
from onionmx.machine.roots import Roots


def built(folder: Path, content: str) -> Path:
    root = folder / content
    root.mkdir()
    (root / "file").write_text(content)
    return root


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    roots = Roots(tmp_path / "machine")
    with roots.locked(), roots.workplace() as place:
        roots.use_first(roots.add(built(place, "one")))
    return roots


def add(roots: Roots, content: str) -> Path:
    with roots.locked(), roots.workplace() as place:
        return roots.add(built(place, content))


def content(root: Path | None) -> str | None:
    return (root / "file").read_text() if root else None


def test_a_new_folder_has_no_root(tmp_path: Path) -> None:
    roots = Roots(tmp_path / "machine")
    assert (roots.current, roots.previous, roots.way_back) == (None, None, None)


def test_the_first_root_is_the_current_one(roots: Roots) -> None:
    assert (content(roots.current), roots.previous, roots.way_back) == ("one", None, None)


def test_a_root_that_is_found_sound_leaves_a_previous_one(roots: Roots) -> None:
    roots.begin_trial(add(roots, "two"))
    assert (content(roots.current), content(roots.way_back), roots.previous) == ("two", "one", None)
    roots.commit()
    assert (content(roots.current), content(roots.previous), roots.way_back) == ("two", "one", None)


def test_a_root_that_is_not_sound_leaves_everything_as_it_was(roots: Roots) -> None:
    roots.begin_trial(add(roots, "two"))
    roots.commit()
    roots.begin_trial(add(roots, "three"))
    roots.take_back()
    assert (content(roots.current), content(roots.previous), roots.way_back) == ("two", "one", None)


def test_one_old_root_is_kept(roots: Roots) -> None:
    for name in ("two", "three", "four"):
        roots.begin_trial(add(roots, name))
        roots.collect()
        assert content(roots.way_back), "the way back is never removed"
        roots.commit()
        roots.collect()
    assert sorted(path.name for path in (roots.folder / "roots").iterdir()) == ["3", "4"]
    assert (content(roots.current), content(roots.previous)) == ("four", "three")


def test_one_run_at_a_time(roots: Roots) -> None:
    with roots.locked(), pytest.raises(LockedError, match="another onionmx machine is at work"), roots.locked():
        pytest.fail("two of them")
    with roots.locked():
        pass


def test_what_a_killed_run_was_building_is_removed(roots: Roots) -> None:
    left = roots.folder / "building/left/root"
    left.mkdir(parents=True)
    with roots.locked(), roots.workplace() as place:
        assert not left.exists()
        (place / "root").mkdir()
    assert not (roots.folder / "building").exists()


def test_nobody_but_root_may_write_there(roots: Roots) -> None:
    for path in (roots.folder, roots.folder / "roots"):
        assert path.stat().st_mode & 0o022 == 0
    assert (roots.folder / "lock").stat().st_mode & 0o077 == 0
