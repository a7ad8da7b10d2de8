from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onionmx.errors import ConfigurationError
from onionmx.setup.programs.blocks import BEGIN, END, appended, blocks, inserted, replaced, settled, split, stripped

TEXTS = st.lists(st.sampled_from(["a = 1", " b", "", "# c", "x\r", "é\x0b\x1c\x85", "# was: d"])).flatmap(
    lambda lines: st.sampled_from(["\n".join(lines), "".join(f"{line}\n" for line in lines)])
)
BODY = "ours = 1\n  and more\n"


def _changes(text: str) -> st.SearchStrategy[list[Callable[[str], str]]]:
    number = len(split(text))
    places = st.integers(0, max(number - 1, 0))
    changes: list[st.SearchStrategy[Callable[[str], str]]] = [
        st.just(lambda there: appended(there, BODY)),
        places.map(lambda place: lambda there: inserted(there, place, BODY)),
    ]
    if number:
        changes.append(places.map(lambda place: lambda there: replaced(there, place, place + 1, BODY)))
    return st.lists(st.one_of(changes), max_size=1).flatmap(
        lambda first: st.lists(changes[0], max_size=2).map(lambda then: first + then)
    )


@given(st.data(), TEXTS)
@example(data=None, text="a")
def test_what_was_put_in_comes_out_without_a_trace(data: st.DataObject, text: str) -> None:
    changed = text
    changes = [lambda there: appended(there, BODY)] if data is None else data.draw(_changes(text))
    for change in changes:
        changed = change(changed)
    assert stripped(changed) == text
    assert len(blocks(changed)) == len(changes)


@given(TEXTS, TEXTS)
def test_what_others_write_behind_a_block_stays(text: str, more: str) -> None:
    ended = text if text.endswith("\n") or not text or not more else f"{text}\n"
    assert stripped(appended(text, BODY) + more) == ended + more


def test_replaced_last_line_without_an_end() -> None:
    changed = appended(replaced("a\nb", 1, 2, BODY), BODY)
    assert stripped(changed) == "a\nb"
    assert "# was: b\n" in changed


@pytest.mark.parametrize(
    "text", [BEGIN, END, f"{BEGIN}\n{BEGIN}\n{END}\n", f"{BEGIN}\n{END}\n{END}\n", f"a\n{BEGIN}\nb\n"]
)
def test_half_a_mark_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"/etc/x: .* has lost its other half"):
        stripped(text, "/etc/x")


@given(
    text=st.text(alphabet=st.sampled_from(["a", "\n", "#", " "])).map(lambda text: text + f"\n{BEGIN}\n"),
    ended=st.booleans(),
)
def test_any_text_is_taken_or_refused(text: str, *, ended: bool) -> None:
    try:
        assert BEGIN not in stripped(text + (f"{END}\n" if ended else ""))
    except ConfigurationError:
        assert not ended


def test_same_blocks_in_another_place_are_left_there() -> None:
    moved = appended("a\n", BODY) + "b\n"
    assert settled(moved, appended("a\nb\n", BODY)) == moved
    assert settled(moved, appended("a\nb\n", "new\n")) == appended("a\nb\n", "new\n")
