import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.domain import normalize
from onionmx.errors import DomainError

LONGEST = ".".join(["a" * 63] * 3 + ["b" * 61])


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("example.org", "example.org"),
        ("EXAMPLE.Org.", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),  # IDNA 2003 would make strasse of it
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
        (LONGEST, LONGEST),
        (LONGEST + ".", LONGEST),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert normalize(text) == normal
    assert normalize(normal) == normal


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (".", "empty"),
        ("user@example.org", "e-mail address"),
        ("a..b", "empty label"),
        (".a", "empty label"),
        ("a..", "empty label"),
        ("a" * 64 + ".org", "label of 64"),
        ("a." + LONGEST, "255 characters"),
        ("x" * 300, "300 characters"),
        ("exa mple.org", "contains ' '"),
        ("exa\0mple.org", r"contains '\\x00'"),
        ("exa_mple.org", "contains '_'"),
        ("example.org\n", "contains"),
        ("[192.0.2.1]", "contains"),
        ("-a.org", "hyphen"),
        ("a-.org", "hyphen"),
        ("bü cher.example", "internationalized"),
        ("ü" * 300, "internationalized|characters"),
        ("a\u200d.example", "internationalized"),
        ("ü@example.org", "e-mail address"),
        ("\ud800.org", "internationalized"),
    ],
)
def test_everything_else_is_refused_with_the_cause(text: str, why: str) -> None:
    with pytest.raises(DomainError, match=why):
        normalize(text)


@given(st.text(max_size=300))
def test_normal_form_is_a_fixed_point(text: str) -> None:
    try:
        normal = normalize(text)
    except DomainError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 400
    else:
        assert normalize(normal) == normal
        assert normal == normal.lower()
        assert len(normal) <= 253
