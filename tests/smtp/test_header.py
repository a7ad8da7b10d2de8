"""A header as fields: nothing is lost between them, and what is no header is not taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import InputError
from onionmx.smtp.header import MOST_FIELDS, Field, parse_header, split_header

FIELDS = [
    b"Received: from a\r\n\tby b;\r\n Mon, 1 Jan 2024 00:00:00 +0000\r\n",
    b"Subject: x : y\r\n",
    b"X-Empty:\r\n",
    b"x-eight: \xff\xfe\x00\r\n",
    b"X-Folded:\r\n  begins on the next line\r\n",
]
BROKEN = [
    b"no colon\r\n",
    b" folded, but of nothing\r\n",
    b"From carol Mon Jan  1 00:00:00 2024\r\n",
    b"X-Blank: a\r\n \t\r\n",
    b"X-Bare: a\nX-Other: b\r\n",
    b"X-Bare: a\rX-Other: b\r\n",
    b"X-End: is missing",
    b"na\xefve: 8 bit in the name\r\n",
    b": no name\r\n",
    b"X-Blank : before the colon\r\n",
    b"\r\n",
]


def test_fields_with_their_names_and_values() -> None:
    found = parse_header(b"".join(FIELDS))
    assert [field.raw for field in found] == FIELDS
    assert [field.name for field in found] == [b"received", b"subject", b"x-empty", b"x-eight", b"x-folded"]
    assert found[0].value == b"from a\tby b; Mon, 1 Jan 2024 00:00:00 +0000"
    assert found[2].value == b""


@pytest.mark.parametrize("line", BROKEN)
@pytest.mark.parametrize("before", [b"", b"".join(FIELDS)], ids=["first", "later"])
def test_what_is_no_field_is_named_by_its_line(before: bytes, line: bytes) -> None:
    if before and line.startswith(b" "):
        assert parse_header(before + line)[-1].raw.endswith(line)  # then it is of the field before it
        return
    with pytest.raises(InputError, match=r"line \d+ of the header begins no field"):
        parse_header(before + line)


@given(st.lists(st.sampled_from(FIELDS + BROKEN)).map(b"".join) | st.binary())
def test_all_of_it_or_nothing(header: bytes) -> None:
    try:
        fields = parse_header(header)
    except InputError:
        return
    assert b"".join(field.raw for field in fields) == header
    for field in fields:
        assert parse_header(field.raw) == [field]


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"b: c"])).map(b"".join))
def test_header_ends_with_the_first_empty_line(content: bytes) -> None:
    header, rest = split_header(content)
    assert header + rest == content
    if rest:
        assert rest.startswith(b"\r\n")
        assert not header or header.endswith(b"\r\n")
    assert b"\r\n\r\n" not in header
    assert not header.startswith(b"\r\n")


def test_value_of_a_field_is_unfolded() -> None:
    assert Field(b"x", b"X: a;\r\n\tb;\r\n c\r\n").value == b"a;\tb; c"


def test_so_many_fields_and_no_more() -> None:
    assert len(parse_header(b"a:\r\n" * MOST_FIELDS)) == MOST_FIELDS
    with pytest.raises(InputError, match=f"more than {MOST_FIELDS} fields"):
        parse_header(b"a:\r\n" * (MOST_FIELDS + 1))
