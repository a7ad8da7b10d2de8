from collections.abc import Callable
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.mapfile.cdb import COULD_NOT_TELL, DEFERS, DEFERS_WHY
from onionmx.mapfile.entries import Difference, Parsed, differences
from onionmx.mapfile.map_yml import format_map_yml, parse_map_yml
from onionmx.mapfile.pins import format_seed, parse_pins, parse_seed
from onionmx.mapfile.transport import format_transport, parse_transport, transport_records
from onionmx.onion import Endpoint
from tests.mapfile.maps import A, B, C, entries
from tests.onions import V2_ONION, make_onion

Content = dict[str, tuple[Endpoint, ...]]
Parser = Callable[[str, bytes], Parsed]
PARSERS: list[Parser] = [parse_pins, parse_seed, parse_transport, parse_map_yml]


@given(entries)
def test_seed_survives(content: Content) -> None:
    parsed = parse_seed("seed", format_seed(content).encode())
    assert (parsed.entries, parsed.problems) == (content, ())
    assert list(parsed.entries) == list(content)


@given(entries)
def test_transport_survives(content: Content) -> None:
    parsed = parse_transport("transport", format_transport(content).encode())
    assert (parsed.entries, parsed.problems, parsed.ignored) == (content, (), ())


@given(entries)
def test_map_yml_survives_but_for_the_order_of_targets(content: Content) -> None:
    parsed = parse_map_yml("map.yml", format_map_yml(content).encode())
    assert parsed.problems == ()
    assert {name: set(value) for name, value in parsed.entries.items()} == {
        name: set(value) for name, value in content.items()
    }


@pytest.mark.parametrize("parse", PARSERS)
@given(content=st.one_of(st.binary(), st.text().map(str.encode)))
def test_parsers_never_raise(parse: Parser, content: bytes) -> None:
    parsed = parse("file", content)
    assert all(str(problem).startswith("file:") for problem in parsed.problems)
    assert all("\n" not in str(problem) for problem in parsed.problems)


def test_pins() -> None:
    text = f"\ufeff# pins\r\nEXAMPLE.org. {A}  {B}:2525 # two\r\n\nbücher.example\t{C}:25\nexample.com NONE\n"
    parsed = parse_pins("pins", text.encode())
    assert parsed.problems == ()
    assert parsed.entries == {
        "example.org": ((A, 25), (B, 2525)),
        "xn--bcher-kva.example": ((C, 25),),
        "example.com": (),
    }


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("example.org", "has no onion"),
        (f"example.org {V2_ONION}", "version 2"),
        (f"example.org {make_onion(1, spoil_checksum=True)}", "wrong checksum"),
        (f"example.org {A}:0", "not a port"),
        (f"example.org {A}:70000", "not a port"),
        (f"example.org {A}:", "not a port"),
        (f"example.org {A} {A}:25", "twice"),
        (f"example.org {A} none", "not an onion address"),
        (f"user@example.org {A}", "e-mail address"),
        (f"exa\0mple.org {A}", "control character"),
        (f"{'x' * 300} {A}", "300 characters"),
        (f"first.example {A}", "is already on line 1"),
        (f"FIRST.example. {A}", "is already on line 1"),
        ("x" * 20_000, "at most 10000"),
    ],
)
def test_bad_pin_is_named_with_its_line(line: str, why: str) -> None:
    parsed = parse_pins("/etc/onionmx/pins", f"first.example {A}\n{line}\nlast.example none\n".encode())
    assert [problem.line for problem in parsed.problems] == [2]
    assert str(parsed.problems[0]).startswith("/etc/onionmx/pins:2: ")
    assert why in str(parsed.problems[0])
    assert list(parsed.entries) == ["first.example", "last.example"]


def test_line_that_is_not_text_is_named() -> None:
    parsed = parse_pins("pins", b"example.org \xff\xfe\n")
    assert "not UTF-8" in str(parsed.problems[0])


def test_seed_has_no_none() -> None:
    assert "not an onion address" in str(parse_seed("seed", b"example.org none\n").problems[0])


def test_pins_and_transport_lines_do_not_defer_by_that_name() -> None:
    assert "could-not-tell.onion" in str(parse_pins("pins", f"example.org {COULD_NOT_TELL}\n".encode()).problems[0])
    line = f"example.org smtptor:[{COULD_NOT_TELL}]\n"
    assert "could-not-tell.onion" in str(parse_transport("transport", line.encode()).problems[0])


@pytest.mark.parametrize("result", ["", "onion:inet:127.0.0.1:10026"])
def test_domain_that_defers_has_another_result_in_the_table(result: str) -> None:
    records = dict(transport_records({"example.org": DEFERS, "xn--bcher-kva.example": DEFERS}, "smtptor", result))
    for key in ("example.org", "xn--bcher-kva.example", "bücher.example"):
        assert records[key.encode()].decode() == f"retry:4.4.3 {DEFERS_WHY}"


@pytest.mark.parametrize("first", ["onion", "defers"])
def test_map_yml_has_no_domain_that_defers_and_does_not(first: str) -> None:
    keys = [A, COULD_NOT_TELL] if first == "onion" else [COULD_NOT_TELL, A]
    parsed = parse_map_yml("map.yml", "".join(f"{key}:\n- example.org\n" for key in keys).encode())
    assert str(parsed.problems[0]) == f"map.yml:4: example.org is under {COULD_NOT_TELL} and under an onion"


def test_transport_forms_of_the_community() -> None:
    text = f"""
    one.example    smtptor:[{A}]
    two.example    smtptor:[{A}]:2525
    three.example  smtptor:[{A}:2525]
    four.example   smtptor:[{A}]:25, [{B}]:26
    five.example   smtptor:[{A}]:25, smtptor:[{B}]:26
    six.example    smtptor:{A}
    seven.example  smtp:[mail.example.org]:25
    *              error:no
    """
    parsed = parse_transport("transport", dedent(text).encode())
    assert parsed.problems == ()
    assert parsed.entries == {
        "one.example": ((A, 25),),
        "two.example": ((A, 2525),),
        "three.example": ((A, 2525),),
        "four.example": ((A, 25), (B, 26)),
        "five.example": ((A, 25), (B, 26)),
        "six.example": ((A, 25),),
    }
    assert [problem.line for problem in parsed.ignored] == [8, 9]


@given(content=entries, data=st.data())
def test_transport_lines_that_go_on(content: Content, data: st.DataObject) -> None:
    """Wherever white space is in a line, it may go on in the next one, behind comments and blank lines too."""
    cut = st.sampled_from([" ", "\n ", "\r\n\t", "\n# a comment\n  ", "\n\n   \n  # another one\n "])
    lines = (
        "".join(word if place == 0 else data.draw(cut) + word for place, word in enumerate(line.split(" ")))
        for line in format_transport(content).splitlines()
    )
    parsed = parse_transport("transport", ("\n".join(lines) + "\n").encode())
    assert parsed == Parsed(dict(content), (), ())


@pytest.mark.parametrize("start", ["", "example.org\n", "# example.org\n"])
def test_an_onion_without_a_domain_is_named(start: str) -> None:
    """What looks like an onion and could not be read is a problem, never ignored."""
    parsed = parse_transport("transport", f"{start}smtptor:[{A}]:25\n.onion smtptor:\n".encode())
    assert [problem.line for problem in parsed.problems] == [2 if start else 1]


@pytest.mark.parametrize(
    "result",
    [f"[{A}]:25", f"smtptor:[{A}:25]:26", f"smtptor:[{V2_ONION}]", f"smtptor:[{A}]:0", f"smtptor:[{A}]:25x", f"{A}"],
)
def test_bad_transport_result_is_named(result: str) -> None:
    parsed = parse_transport("transport", f"example.org {result}\n".encode())
    assert [problem.line for problem in parsed.problems] == [1]


def test_map_yml_of_the_community() -> None:
    text = f"""# comment
---
'{V2_ONION}':
  - 'calyx.com'
'{A}':
  - 'example.org'
  - 'EXAMPLE.net'
'{B}':
  - 'example.org'
"""
    parsed = parse_map_yml("map.yml", text.encode())
    assert parsed.problems == ()
    assert parsed.entries == {"example.org": ((A, 25), (B, 25)), "example.net": ((A, 25),)}
    assert [(problem.line, "version 2" in problem.message) for problem in parsed.ignored] == [(3, True)]


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("- a\n- b\n", 1, "expected a mapping"),
        (f"{A}: example.org\n", 1, "expected a list"),
        (f"{A}:\n  - example.org\n  - {{a: b}}\n", 2, "expected a list"),
        ("? [a]\n: [b]\n", 1, "expected an onion as the key"),
        (f"{A}:\n  - example.org\nexample.net:\n  - a.example\n", 3, "not an onion address"),
        (f"{A}:\n  - example.org\n  - user@example.org\n", 3, "e-mail address"),
        (f"{A}:\n  - example.org\n{A}:\n  - example.org\n", 4, "twice"),
        (f"{A}:\n  - 'example.org\n", 3, "not YAML"),
        ("a: \t- b\n  - c: [\n", 1, "not YAML"),
        ("\0", 1, "not YAML"),
        ("!!python/object/apply:os.system ['true']\n", 1, "expected a mapping"),
    ],
)
def test_bad_map_yml_is_named_with_its_line(text: str, line: int, why: str) -> None:
    parsed = parse_map_yml("map.yml", text.encode())
    assert [problem.line for problem in parsed.problems] == [line]
    assert why in parsed.problems[0].message


def test_differences() -> None:
    old: Content = {"a.example": ((A, 25),), "b.example": ((A, 25),), "c.example": ((A, 25),)}
    new: Content = {"b.example": ((B, 25),), "c.example": ((A, 25),), "d.example": ((C, 25),)}
    assert list(differences(old, new)) == [
        Difference("a.example", ((A, 25),), None),
        Difference("b.example", ((A, 25),), ((B, 25),)),
        Difference("d.example", None, ((C, 25),)),
    ]
