"""What a stranger has written moves no cursor, ends no line and is not hidden."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.text import escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("grüße, 世界", "grüße, 世界"),
        ("\u202egnp.exe\u202c", r"\u202egnp.exe\u202c"),
        ("one\u2028two\u2029three", r"one\u2028two\u2029three"),
        ("\U000e0041\U000e007f", r"\U000e0041\U000e007f"),
        ("\ud800\ue000\u00ad\u200b\ufeff", r"\ud800\ue000\xad\u200b\ufeff"),
        ("a\x1b[2Jb\x9bc\r\nd\te", r"a\x1b[2Jb\x9bc\r\nd\te"),
        ("a\u00a0b\u3000c", r"a\xa0b\u3000c"),
    ],
)
def test_characters(text: str, shown: str) -> None:
    assert escaped(text) == shown


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"])))
def test_any_text(text: str) -> None:
    shown = escaped(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    assert escaped(shown) == shown
