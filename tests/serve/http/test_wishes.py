"""What a client asks for: a format by query or by Accept, and only what is new to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import InputError
from onionmx.serve.http.wishes import Format, format_of, is_known

TAG = '"abc"'
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        ("", "", Format.LIST),
        ("x=1&y", "", Format.LIST),
        ("format=list", "application/json", Format.LIST),
        ("format=csv", "", Format.CSV),
        ("x=1&format=json&format=json", "text/csv", Format.JSON),
        ("", "*/*", Format.LIST),
        ("", BROWSER, Format.LIST),
        ("", "application/json", Format.JSON),
        ("", "APPLICATION/JSON ; charset=utf-8", Format.JSON),
        ("", "text/*, application/json;q=0.5", Format.LIST),
        ("", "text/csv, */*;q=0.1", Format.CSV),
        ("", "text/plain;q=0.1, text/csv;q=0.2, application/json;q=0.15", Format.CSV),
        ("", "text/*;q=0.9, text/plain;q=0, application/json;q=0.8", Format.CSV),
        ("", "image/png", Format.LIST),
        ("", "text/csv;q=2, application/json;q=0.001", Format.JSON),
        ("", "application/json;q=nan, text/csv;q=0.1", Format.CSV),
    ],
)
def test_formats(query: str, accept: str, expected: Format) -> None:
    assert format_of(query, accept) is expected


@pytest.mark.parametrize(
    "query", ["format=xml", "format=", "format", "format=LIST", "format=csv&format=json", "&".join(["x"] * 99)]
)
def test_other_formats_are_refused(query: str) -> None:
    """A cron job that misspells it would install a list that is something else."""
    with pytest.raises(InputError):
        format_of(query, "")


@given(st.text(), st.text())
def test_any_query_and_accept(query: str, accept: str) -> None:
    try:
        assert format_of(query, accept) in Format
    except InputError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize(
    ("if_none_match", "known"),
    [
        ("", False),
        (TAG, True),
        (f"W/{TAG}", True),
        (f'"x", {TAG}', True),
        (f'"a,b",{TAG}', True),
        ("*", True),
        (" * ", True),
        ("abc", False),
        ('"ABC"', False),
        ('"x", *', False),
        ('"abc', False),
    ],
)
def test_what_the_client_has(if_none_match: str, known: bool) -> None:  # noqa: FBT001
    assert is_known(TAG, if_none_match) is known


@given(st.text())
def test_any_if_none_match(text: str) -> None:
    """It is known only if the client has written the tag."""
    assert not is_known(TAG, text) or TAG in text or text.strip() == "*"
