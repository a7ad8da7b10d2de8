from hypothesis import given
from hypothesis import strategies as st

from onionmx.echo.words import MAX_FIELD, Word, name, words


def test_each_kind() -> None:
    field = 'one (a (nested \\) comment)) "quoted \\" string"[127.0.0.1]; two=three'
    assert list(words(field, ";=")) == [
        Word("word", "one"),
        Word("comment", "a (nested ) comment)"),
        Word("quoted", 'quoted " string'),
        Word("literal", "127.0.0.1"),
        Word("separator", ";"),
        Word("word", "two"),
        Word("separator", "="),
        Word("word", "three"),
    ]


@given(st.text(st.sampled_from('()[]"\\;= \ta1.')))
def test_whatever_is_in_a_field_each_word_is_from_it(field: str) -> None:
    for word in words(field, ";="):
        assert len(word.text) <= len(field)
        assert word.kind != "word" or (word.text in field and not set(word.text) & set('([";= \t'))


@given(st.text())
def test_any_text_can_be_read(field: str) -> None:
    assert sum(len(word.text) for word in words(field, ";")) <= len(field)


def test_long_and_unclosed_fields_are_read_in_one_pass() -> None:
    for piece in ("(", '"', "[", "\\", "(\\", "()", "a "):
        field = piece * (MAX_FIELD * 10)
        assert sum(len(word.text) for word in words(field, ";")) <= MAX_FIELD


@given(st.text(), st.integers(1, 50))
def test_a_name_has_no_prose(text: str, most: int) -> None:
    found = name(text, most)
    assert len(found) <= most
    assert found.isascii()
    assert not set(found) & set(" \t\r\n<>/\"'()\\;,\x1b")
