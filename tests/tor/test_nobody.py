import pytest

from onionmx.errors import OnionError
from onionmx.onion import parse_onion
from onionmx.tor.nobody import MISTYPED, NOBODY


def test_one_could_be_somebodys_and_the_other_nobodys() -> None:
    assert parse_onion(NOBODY) == NOBODY
    with pytest.raises(OnionError, match="checksum"):
        parse_onion(MISTYPED)
