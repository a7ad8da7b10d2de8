from base64 import b32encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import OnionError
from onionmx.onion import format_endpoint, is_v2_onion, parse_endpoint, parse_onion, parse_port
from tests.onions import V2_ONION, V3_ONION, make_onion

LABEL = V3_ONION.removesuffix(".onion")


def test_real_address_is_accepted() -> None:
    assert parse_onion(V3_ONION) == V3_ONION


def test_upper_case_and_trailing_dot_are_normalized() -> None:
    assert parse_onion(V3_ONION.upper() + ".") == V3_ONION


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an onion address"),
        (".onion", "not an onion address"),
        ("example.org", "not an onion address"),
        (LABEL, "not an onion address"),
        (V2_ONION, "version 2"),
        (V2_ONION.upper(), "version 2"),
        (make_onion(1, spoil_checksum=True), "wrong checksum"),
        (make_onion(1, version=4), "version 4"),
        (f"www.{V3_ONION}", "label before"),
        (f"{LABEL[:-1]}.onion", "55 characters"),
        (f"{LABEL}a.onion", "57 characters"),
        (f"{LABEL[:-1]}1.onion", "not base32"),
        (f"{LABEL[:-1]}v\n.onion", "57 characters"),
        (f"{V3_ONION}\n", "not an onion address"),
        (f" {V3_ONION}", "57 characters"),
        (f"{V3_ONION}..", "not an onion address"),
        ("\N{KELVIN SIGN}" * 56 + ".onion", "wrong checksum|version"),
        ("\N{ARABIC-INDIC DIGIT TWO}" * 56 + ".onion", "not base32"),
    ],
)
def test_everything_else_is_refused_with_the_cause(text: str, why: str) -> None:
    with pytest.raises(OnionError, match=why):
        parse_onion(text)


@given(st.binary(min_size=32, max_size=32))
def test_every_public_key_has_one_address(public_key: bytes) -> None:
    onion = make_onion(public_key)
    assert parse_onion(onion) == onion


@given(st.binary(min_size=35, max_size=35))
def test_random_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(OnionError):
        parse_onion(b32encode(raw[:34] + b"\x02").decode() + ".onion")


@given(st.text())
def test_parser_raises_nothing_but_its_own_error(text: str) -> None:
    for parse in (parse_onion, parse_endpoint, parse_port):
        with pytest.raises(OnionError):
            parse(text + ":onion")
        with pytest.raises(OnionError):
            parse(text + ".onion:x")


@pytest.mark.parametrize(
    "text", ["0", "65536", "70000", "-1", "+1", " 25", "25 ", "2_5", "", "\N{ARABIC-INDIC DIGIT TWO}", "9" * 5000]
)
def test_impossible_ports_are_refused(text: str) -> None:
    with pytest.raises(OnionError, match="expected a number from 1 to 65535"):
        parse_port(text)


@given(st.integers(1, 65535))
def test_endpoint_survives_being_written(port: int) -> None:
    text = format_endpoint((V3_ONION, port))
    assert parse_endpoint(text) == (V3_ONION, port)
    assert (text == V3_ONION) == (port == 25)


def test_v2_is_told_from_other_names() -> None:
    assert is_v2_onion(V2_ONION)
    assert is_v2_onion(V2_ONION.upper() + ".")
    assert not is_v2_onion(V3_ONION)
    assert not is_v2_onion("ysp4gfuhnmj6b4mb")
    assert not is_v2_onion("ysp4gfuhnmj6b4m1.onion")
