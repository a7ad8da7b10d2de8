"""ob_config: which fronts a service belongs to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import InputError
from onionmx.tor.service.balance import format_ob_config, parse_ob_config
from tests.onions import V2_ONION, make_onion

A, B = make_onion("a"), make_onion("b")


def test_fronts() -> None:
    assert parse_ob_config(format_ob_config(A)) == (A,)
    text = f"# of both\nmasteronionaddress {A}\n\nUnknown 1\nMasterOnionAddress {B} # the old one\n"
    assert parse_ob_config(text) == (A, B)


@pytest.mark.parametrize("text", ["", "Unknown 1\n", f"MasterOnionAddress {V2_ONION}\n", "MasterOnionAddress\n"])
def test_file_that_tor_would_not_take(text: str) -> None:
    with pytest.raises(InputError):
        parse_ob_config(text)


@given(st.lists(st.one_of(st.text(), st.just(f"MasterOnionAddress {A}"), st.just("MasterOnionAddress x"))))
def test_any_text_has_fronts_or_not(lines: list[str]) -> None:
    try:
        fronts = parse_ob_config("\n".join(lines))
    except InputError:
        return
    assert set(fronts) == {A}
