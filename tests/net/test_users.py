"""Who is believed to be root, tor or this process's own user."""

import os
from collections.abc import Iterator

import pytest

from onionmx.net.users import is_believed
from onionmx.privileges import NOBODY, shared_users
from tests.net.stranger import UID, as_stranger, root_only

pytestmark = root_only


@pytest.fixture
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)
    shared_users.clear()


def test_own_user_is_believed() -> None:
    with as_stranger():
        assert is_believed(UID, ())
        assert not is_believed(NOBODY, ())


@pytest.mark.usefixtures("as_nobody")
def test_nobody_is_not_believed_for_being_nobody_too_where_root_became_that() -> None:
    assert is_believed(NOBODY, ())
    shared_users.add(NOBODY)
    assert not is_believed(NOBODY, ("debian-tor",))
    assert is_believed(NOBODY, (str(NOBODY),))
    assert is_believed(0, ())
