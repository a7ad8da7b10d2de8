"""Requests that web pages of others have a browser send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.serve.http.origin import is_from_another_site


@pytest.mark.parametrize(
    ("headers", "is_foreign"),
    [
        ({}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:10030"}, False),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, True),
        ({"Sec-Fetch-Site": ""}, True),
        ({"Origin": "http://LOCALHOST:10030"}, False),
        ({"Origin": "http://localhost:8080"}, True),
        ({"Origin": "https://attacker.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://[::1"}, True),
    ],
)
def test_who_asks(headers: dict[str, str], is_foreign: bool) -> None:  # noqa: FBT001 -- the expected answer
    sent = [(b"host", b"localhost:10030"), *((name.lower().encode(), text.encode()) for name, text in headers.items())]
    assert is_from_another_site(sent) is is_foreign


@given(st.binary(), st.binary())
def test_any_origin(origin: bytes, host: bytes) -> None:
    assert isinstance(is_from_another_site([(b"host", host), (b"origin", origin)]), bool)
    assert is_from_another_site([(b"origin", origin)])
