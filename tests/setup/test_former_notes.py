"""What setup noted in the folder that is now sync's: taken over from root, and believed of nobody else."""

import os
from pathlib import Path

import pytest

from onionmx.errors import ConfigurationError
from onionmx.setup.engine import prepare
from onionmx.setup.manifest import FILE, FOLDER, FORMER_FOLDER, load
from onionmx.setup.system import System

OTHER = 65533


@pytest.fixture
def system(tmp_path: Path) -> System:
    """A machine on which an older setup has been."""
    found = System(tmp_path)
    found.real(FORMER_FOLDER).mkdir(parents=True)
    (found.real(FORMER_FOLDER) / Path(FILE).name).write_text('{"wishes": {"domains": ["example.org"]}}')
    return found


def test_notes_of_an_older_setup_are_taken_over(system: System) -> None:
    prepare(system)
    assert not system.exists(FORMER_FOLDER)
    manifest = load(system)
    assert manifest
    assert manifest.wishes.domains == ("example.org",)
    prepare(system)
    assert load(system) == manifest


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("given", [FORMER_FOLDER, str(Path(FORMER_FOLDER).parent)])
def test_notes_that_another_user_could_have_written_are_not_believed(system: System, given: str) -> None:
    os.chown(system.real(given), OTHER, OTHER)
    with pytest.raises(ConfigurationError, match=f"user {OTHER}, who owns {given}, could have written it"):
        prepare(system)
    assert load(system) is None
    assert not system.exists(FOLDER)
