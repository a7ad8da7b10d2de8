import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import ConfigurationError
from onionmx.mapfile.domains import read_domains
from onionmx.sync.lists.files import digest_of, read_lists

lines = st.one_of(
    st.sampled_from(
        [
            b"example.org",
            b"EXAMPLE.org.",
            b"  a.example \t\r",
            b"b\xc3\xbccher.example",
            b"# c",
            b"d.example # d",
            b"",
            b"-e.example",
            b"f" * 64,
            b".".join([b"g" * 60] * 5),
            b"user@example.org",
            b"h.example i.example",
            b"j\x0b.example",
            b"k.example\x0c",
            b"\xff",
        ]
    ),
    st.binary(max_size=20),
    st.from_regex(rb"[a-z0-9.-]{1,70}", fullmatch=True),
)
contents = st.lists(lines, max_size=8).map(b"\n".join)


@given(st.lists(contents, max_size=3))
def test_the_fast_way_reads_what_the_ordinary_one_reads(drawn: list[bytes]) -> None:
    lists = [(f"list{number}", content) for number, content in enumerate(drawn)]
    try:
        expected = set(read_domains(lists))
    except ConfigurationError as error:
        with pytest.raises(ConfigurationError) as caught:
            read_lists(lists)
        assert str(caught.value) == str(error)
    else:
        assert set(read_lists(lists)) == expected


def test_the_digest_is_of_the_contents() -> None:
    assert digest_of([("a", b"x\n")]) == digest_of([("b", b"x\n")])
    different = [[], [("a", b"x\n")], [("a", b"y\n")], [("a", b"x\n"), ("b", b"")], [("a", b""), ("b", b"x\n")]]
    assert len(set(map(digest_of, different))) == len(different)
