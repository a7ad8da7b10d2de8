import pytest

from onionmx.errors import OnionError
from onionmx.onion import parse_onion
from onionmx.tor.nobody import BAD_CHECKSUM_ONION, UNUSED_ONION


def test_one_could_be_somebodys_and_the_other_nobodys() -> None:
    assert parse_onion(UNUSED_ONION) == UNUSED_ONION
    with pytest.raises(OnionError, match="checksum"):
        parse_onion(BAD_CHECKSUM_ONION)
