"""MTA-STS as text: the TXT record, the policy, and which names agree with its patterns."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.authenticate.demand.policy import (
    MAX_AGE,
    MAX_POLICY_SIZE,
    Mode,
    Policy,
    PolicyError,
    agree,
    matches_pattern,
    read_policy,
    read_records,
)

ENFORCE = b"version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 86400\n"


@pytest.mark.parametrize(
    ("records", "identifier"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        ([b"v=STSv1;id=1"], "1"),
        ([b"v=STSv1; id=1; later=x/y:z; "], "1"),
        ([b"v=STSv1; later=1; id=2;"], "2"),
        ([b"v=STSv1; id=first; id=second;"], "first"),
        ([b"v=STSv1 ; id=1234;"], "1234"),
        ([b"v=STSv1\t ;\tid=1 ;\t"], "1"),
        ([b"v=STSv1 ;id=1;", b"v=STSv1;id=1;"], None),
        ([b"v=STSv1 id=1;"], None),
        ([b"v=spf1 -all", b"v=STSv1; id=1;"], "1"),
        ([], None),
        ([b"v=STSv1"], None),
        ([b"v=STSv1;"], None),
        ([b"v=STSv2; id=1;"], None),
        ([b"v=STSv1; id=;"], None),
        ([b"v=STSv1; id=1 2;"], None),
        ([b"v=STSv1; id=" + 33 * b"a"], None),
        ([b"v=STSv1; id=1;; x=1"], None),
        ([b"v=STSv1; id=\xff"], None),
        ([b"v=STSv1; id=1;", b"v=STSv1; id=1;"], None),
    ],
)
def test_records(records: list[bytes], identifier: str | None) -> None:
    assert read_records(records) == identifier


@given(st.lists(st.binary(max_size=60) | st.binary(max_size=40).map(b"v=STSv1;".__add__), max_size=3))
def test_any_records(records: list[bytes]) -> None:
    identifier = read_records(records)
    assert identifier is None or (1 <= len(identifier) <= 32 and identifier.isalnum() and identifier.isascii())


_BLANK = st.text(" \t", max_size=3)
_DELIMITER = st.builds(lambda before, behind: f"{before};{behind}", _BLANK, _BLANK)
_ALPHANUMERIC = string.ascii_letters + string.digits
_ID = st.text(_ALPHANUMERIC, min_size=1, max_size=32)
_NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", fullmatch=True, alphabet=st.characters(codec="ascii"))
_VALUE = st.text("".join(map(chr, (*range(0x21, 0x3B), 0x3C, *range(0x3E, 0x7F)))), min_size=1, max_size=20)


@given(identifier=_ID, others=st.lists(st.tuples(_NAME, _VALUE), max_size=3), place=st.integers(0, 3), data=st.data())
def test_every_record_of_the_grammar(
    identifier: str, others: list[tuple[str, str]], place: int, data: st.DataObject
) -> None:
    """RFC 8461 section 3.1: sts-version 1*(sts-field-delim sts-field) [sts-field-delim]."""
    fields = [f"{name}={value}" for name, value in others if name != "id"]
    fields.insert(min(place, len(fields)), f"id={identifier}")
    text = "v=STSv1" + "".join(data.draw(_DELIMITER) + field for field in fields)
    text += data.draw(st.just("") | _DELIMITER)
    assert read_records([text.encode()]) == identifier


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_policy(end: bytes) -> None:
    lines = [
        *(
            b"version: STSv1",
            b"mode:enforce",
            b"mx: MX1.example.org.",
            b"mx: *.backup.example.org",
            b"mx: mx1.example.org",
        ),
        *(b"max_age: \t604800 ", b"mode: none", b"later: anything: goes", b""),
    ]
    patterns = ("mx1.example.org", "*.backup.example.org")
    assert read_policy(end.join(lines)) == Policy(Mode.ENFORCE, patterns, 604800)


def test_policy_of_mode_none_needs_no_mx() -> None:
    assert read_policy(b"version: STSv1\nmode: none\nmax_age: 0\n") == Policy(Mode.NONE, (), 0)


def test_nobody_is_bound_for_ever() -> None:
    assert read_policy(ENFORCE.replace(b"86400", b"9999999999")).max_age == MAX_AGE


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has not the version STSv1"),
        (ENFORCE.replace(b"STSv1", b"STSv2"), "has not the version STSv1"),
        (ENFORCE.replace(b"enforce", b"Enforce"), "mode 'Enforce': expected one of enforce, testing, none"),
        (ENFORCE.replace(b"mode: enforce\n", b""), "mode ''"),
        (ENFORCE.replace(b"mx: mx.example.org\n", b""), "names no MX"),
        (ENFORCE.replace(b"86400", b"-1"), "max_age '-1': expected seconds"),
        (ENFORCE.replace(b"86400", b"12345678901"), "max_age"),
        (ENFORCE.replace(b"86400", "\N{FULLWIDTH DIGIT EIGHT}".encode()), "max_age"),
        (ENFORCE.replace(b"max_age: 86400\n", b""), "max_age ''"),
        (ENFORCE.replace(b"mx.example.org", b"*"), "mx '*'"),
        (ENFORCE.replace(b"mx.example.org", b"mx.*.example.org"), "mx 'mx.*.example.org'"),
        (ENFORCE.replace(b"mx.example.org", b""), "mx ''"),
        (ENFORCE + b"<html>", "line '<html>' of the policy has no colon"),
        (ENFORCE + b"x: \xff", "is not UTF-8"),
        (ENFORCE + b"\n" * MAX_POLICY_SIZE, "larger than 65536 bytes"),
    ],
)
def test_policy_that_is_none(content: bytes, words: str) -> None:
    with pytest.raises(PolicyError) as error:
        read_policy(content)
    assert words in str(error.value)
    assert str(error.value).isprintable()


_LINES = st.sampled_from([b"version: STSv1", b"mode: enforce", b"mode: none", b"mx: a.b", b"max_age: 1", b"mx: *.c.d"])


@given(st.lists(_LINES | st.binary(max_size=30), max_size=8).map(b"\n".join))
def test_any_policy(content: bytes) -> None:
    try:
        policy = read_policy(content)
    except PolicyError as error:
        assert str(error).isprintable()
    else:
        assert policy.patterns or policy.mode is Mode.NONE
        assert 0 <= policy.max_age <= MAX_AGE


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("mx.example.org", "mx.example.org", True),
        ("mx.example.org", "MX.Example.org", True),
        ("mx.example.org", "mx2.example.org", False),
        ("mx.example.org", "example.org", False),
        ("mx.example.org", "*.example.org", True),
        ("mx.example.org", "*.org", False),
        ("a.mx.example.org", "*.example.org", False),
        ("*.example.org", "mx.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "a.mx.example.org", False),
        ("*.example.org", ".example.org", False),
        ("*.example.org", "*.example.org", True),
        ("*.example.org", "*.mx.example.org", False),
        ("*.mx.example.org", "*.example.org", False),
        ("*.example.org", "mx.example.org.evil.example", False),
        ("*.example.org", "evilexample.org", False),
        ("mx.example.org", "*", False),
        ("mx.example.org", "m*.example.org", False),
        ("mx.example.org", "", False),
    ],
)
def test_agree(pattern: str, name: str, expected: bool) -> None:  # noqa: FBT001
    assert agree(pattern, name) is expected


_NAMES = st.lists(st.text("ab", min_size=1, max_size=2), min_size=2, max_size=4).map(".".join)
_PATTERNS = _NAMES | _NAMES.map("*.".__add__)


@given(_PATTERNS, _PATTERNS, st.text(string.ascii_lowercase, min_size=5, max_size=5))
def test_agreement_has_a_witness(pattern: str, name: str, label: str) -> None:
    """They agree where a host fits both; one that is in both classes can be made of either."""
    hosts = [each.replace("*", label) for each in (pattern, name)]
    both = [host for host in hosts if matches_pattern(pattern, host) and matches_pattern(name, host)]
    assert agree(pattern, name) is bool(both)
