"""The page: what it shows and does not show, and that no text of others is more than text."""

from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import onionmx.serve.page
from onionmx.serve.page.gather import StatusSource
from onionmx.serve.page.graph import HEIGHT, WIDTH, graph_of
from onionmx.serve.page.page import StatusPage, span
from onionmx.status.model import (
    DayCount,
    DeliveriesStatus,
    FailingStatus,
    FailureKind,
    FallbackStatus,
    MapStatus,
    OnionsStatus,
    OnionStatus,
    QueueStatus,
    Status,
    TorStatus,
)
from tests.mapfile.maps import A, B
from tests.serve.page.statuses import AT, FAILING, WELL, failing

ATTRIBUTES = {
    *("lang", "charset", "name", "content", "rel", "href", "class", "scope", "id", "role", "aria-labelledby"),
    *("viewbox", "preserveaspectratio", "x", "y", "width", "height"),
}
UNKNOWN = Status(
    version="1.2.3",
    host="mx1",
    at=AT,
    tor=TorStatus(answers=None, why="tor unasked"),
    onions=OnionsStatus(services=None, why="onions unasked"),
    map=MapStatus(path="map", why="map unread"),
    fallback=FallbackStatus(released=(), why="there are no fallback rules"),
    failing=FailingStatus(destinations=None, why="relay unasked"),
    queue=QueueStatus(),
    deliveries=DeliveriesStatus(why="relay unasked"),
)


class Read(HTMLParser):
    """The tags and the words of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


@cache
def page() -> StatusPage:
    async def nothing() -> dict[str, object]:
        raise AssertionError

    return StatusPage(StatusSource(None, nothing), max_age=172_800.0)  # type: ignore[arg-type]


def read(status: Status, *, with_names: bool) -> Read:
    return Read(page().html(status, with_names=with_names))


@given(st.text(), st.sampled_from(FailureKind), st.booleans())
def test_whatever_others_say_is_text(text: str, kind: FailureKind, with_names: bool) -> None:  # noqa: FBT001
    status = replace(
        WELL,
        host=f"<{text}",
        tor=TorStatus(answers=False, why=text),
        onions=OnionsStatus(services=(OnionStatus(onion=text, reachable=None),)),
        map=replace(WELL.map, entries=None, why=text),
        failing=FailingStatus(destinations=(failing(A, (text, "<script>x</script>"), kind, f'"><img src=x>{text}'),)),
        deliveries=replace(WELL.deliveries, why=text),
    )
    made = page().html(status, with_names=with_names)
    found = Read(made)
    assert made.replace("\n", "").isprintable()
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in read(WELL, with_names=True).tags} | {
        *("section", "h3", "dl", "dt", "dd", "code")
    }
    for tag, attributes in found.tags:
        assert attributes.keys() <= ATTRIBUTES
        if "href" in attributes:
            assert (tag, attributes["href"]) == ("link", "/status.css")


@pytest.mark.parametrize("status", [WELL, UNKNOWN], ids=["well", "unknown"])
def test_counts_and_states_only(status: Status) -> None:
    broken = replace(
        status,
        failing=FailingStatus(destinations=FAILING, why=A),
        tor=TorStatus(answers=False, why=A),
        onions=OnionsStatus(services=(OnionStatus(onion=A, reachable=False, reachable_why=B),)),
        fallback=FallbackStatus(released=("released.example", "secret.example")),
        map=replace(status.map, why=f"{A} secret.example"),
        deliveries=replace(status.deliveries, why=A, could_have_gone_why=A),
    )
    words = page().html(broken, with_names=False)
    assert "RELEASED" not in read(WELL, with_names=True).words.upper()
    assert "Released to the open internet" in words
    untold = replace(WELL, fallback=FallbackStatus(released=None, why=A))
    assert "NOT KNOWN" in read(untold, with_names=False).words
    assert A not in page().html(untold, with_names=False)
    for secret in (A, B, "secret.example", "third.example", "/var/lib"):
        assert secret not in words
    assert "not published" in words
    unwatched = replace(WELL, onions=OnionsStatus(services=None, why=f"{A} /var/lib"))
    assert A not in page().html(unwatched, with_names=False)
    assert A in page().html(unwatched, with_names=True)
    for shown in (A, "released.example, secret.example", "secret.example, other.example", "tor: no descriptor (F0)"):
        assert shown in page().html(broken, with_names=True)


def test_of_very_many_destinations_some_are_named() -> None:
    status = replace(WELL, failing=FailingStatus(destinations=FAILING * 60))
    words = read(status, with_names=True).words
    assert words.count("third.example") == 50
    assert "And 20 more: onionmx status --json" in words


def test_what_is_not_known_is_neither_good_nor_bad() -> None:
    for with_names in (False, True):
        words = read(replace(UNKNOWN, map=replace(WELL.map, last_run=None, waiting=None)), with_names=with_names).words
        assert words.count("NOT KNOWN") == 6  # tor, sync, changes, destinations, own onion, deliveries
        assert words.count("OK") == 1  # the map
        assert "PROBLEM" not in words


def test_all_mail_that_was_sent_is_told_where_it_is_known() -> None:
    status = replace(WELL, deliveries=replace(WELL.deliveries, sent_last_30_days=7777))
    assert "sent mail to 7777 remote recipients" in read(status, with_names=False).words
    assert "sent mail to" not in read(WELL, with_names=False).words


def test_an_old_map_is_a_problem() -> None:
    status = replace(WELL, map=replace(WELL.map, last_run=AT - 172_801))
    assert "PROBLEM 2 days ago" in read(status, with_names=False).words
    assert "PROBLEM" not in read(WELL, with_names=False).words


def test_the_style_sheet_asks_for_nothing_else() -> None:
    style = Path(onionmx.serve.page.__file__).with_name("status.css").read_text()
    assert "prefers-color-scheme: dark" in style
    assert "url(" not in style
    assert "@import" not in style


@given(
    st.lists(st.builds(DayCount, day=st.just("2026-11-28"), delivered=st.integers(0, 10**9), refused=st.integers(0)))
)
def test_bars_stay_in_the_picture(days: list[DayCount]) -> None:
    graph = graph_of(days)
    assert len(graph.bars) == len(days)
    for bar in graph.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH + 0.1
        (lower_top, lower), (upper_top, upper) = bar.delivered, bar.refused
        assert -0.1 <= upper_top <= lower_top <= HEIGHT + 0.1
        assert abs(lower_top + lower - HEIGHT) < 0.1
        assert abs(upper_top + upper - lower_top) < 0.1


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.5, "a moment"), (1, "1 second"), (119, "1 minute"), (7200, "2 hours"), (1e6, "11 days")]
)
def test_spans(seconds: float, words: str) -> None:
    assert span(seconds) == words
