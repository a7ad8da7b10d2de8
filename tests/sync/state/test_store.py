"""What both stores do."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from onionmx.errors import LockedError
from onionmx.sync.state.encoding import HISTORY_LENGTH, LONGEST_WAIT
from onionmx.sync.state.record import DomainRecord, LastAnswer
from onionmx.sync.state.store import Counts

from .conftest import AnyStore, Open
from .records import ENDPOINTS, WAITING, routed, taken

NOW = 1.8e9
MANY = 12_345  # more than one page of either store


def test_a_new_store_is_empty(store: AnyStore) -> None:
    assert not [*store.due(NOW), *store.routed()]
    assert not store.get(["a.org"])
    assert not store.notes()
    assert not store.pins()
    assert store.history("a.org") == []
    assert store.counts() == Counts()


def test_new_domains_are_due_at_once(store: AnyStore) -> None:
    assert store.set_listed(["b.org", "a.org", "b.org"], NOW) == 2
    assert list(store.due(NOW)) == ["a.org", "b.org"]
    assert store.get(["a.org", "c.org"]) == {"a.org": DomainRecord("a.org", NOW)}
    assert store.counts() == Counts(listed=2)


def test_what_was_saved_is_there_for_the_next_one(store: AnyStore, open_it: Open) -> None:
    record = routed("a.org", pending=WAITING)
    store.save([record], [taken("a.org")])
    store.note(last="yesterday", digest="")
    store.set_pins({"b.org": (), "a.org": ENDPOINTS})
    store.close()
    again = open_it()
    assert list(again.routed()) == [record]
    assert again.history("a.org") == [taken("a.org")]
    assert again.notes() == {"last": "yesterday", "digest": ""}
    assert again.pins() == {"a.org": ENDPOINTS, "b.org": ()}
    assert list(again.pins()) == ["a.org", "b.org"]


def test_only_what_is_due_is_asked_the_longest_due_first(store: AnyStore) -> None:
    dues = {"late.org": 5.0, "later.org": 7.0, "now.org": NOW, "soon.org": NOW + 1}
    store.save(DomainRecord(domain, 1.0, due_at=due) for domain, due in dues.items())
    store.save([DomainRecord("unlisted.org", 1.0, listed=False)])
    assert list(store.due(NOW)) == ["late.org", "later.org", "now.org"]
    assert list(store.due(NOW, all_listed=True)) == list(dues)


def test_a_clock_that_was_ahead_does_not_keep_a_domain_from_being_asked(store: AnyStore) -> None:
    store.save(
        [
            DomainRecord("in-time.org", 1.0, due_at=NOW + LONGEST_WAIT),
            DomainRecord("from-the-future.org", 1.0, due_at=NOW + LONGEST_WAIT + 1),
            DomainRecord("a.org", 1.0, due_at=NOW - 1),
        ]
    )
    assert list(store.due(NOW)) == ["a.org", "from-the-future.org"]


def test_what_no_list_has_any_more_is_remembered_but_not_asked(store: AnyStore) -> None:
    store.save([routed("a.org", due_at=5.0), DomainRecord("b.org", 1.0, due_at=6.0)])
    assert store.set_listed(["b.org", "c.org"], NOW) == 1
    assert store.get(["a.org"])["a.org"] == routed("a.org", due_at=5.0, listed=False)
    assert list(store.due(NOW)) == ["c.org", "b.org"]
    assert [record.domain for record in store.routed()] == ["a.org"]
    assert store.set_listed(["a.org"], NOW) == 0
    assert list(store.due(NOW)) == ["a.org"], "listed again, it keeps its time"
    assert store.set_listed([], NOW) == 0
    assert list(store.due(NOW, all_listed=True)) == []


def test_many(store: AnyStore) -> None:
    names = [f"{number}.example.org" for number in range(MANY)]
    assert store.set_listed(names, NOW) == MANY
    assert store.set_listed(reversed(names), NOW) == 0
    assert list(store.due(NOW)) == sorted(names)
    store.save(routed(name) for name in names)
    assert [record.domain for record in store.routed()] == sorted(names)
    assert store.get(names) == {name: routed(name) for name in names}
    assert store.counts() == Counts(listed=MANY, found=MANY)
    assert store.set_listed(names[: MANY // 2], NOW) == 0
    assert store.counts() == Counts(listed=MANY // 2, found=MANY // 2)


def test_saving_while_the_due_ones_are_read(store: AnyStore) -> None:
    names = [f"{number}.example.org" for number in range(MANY)]
    store.set_listed(names, NOW)
    seen = []
    for name in store.due(NOW):
        seen.append(name)
        if len(seen) % 1000 == 0:
            store.save(DomainRecord(done, 1.0, due_at=NOW + 60) for done in seen[-1000:])
    assert seen == sorted(names)
    assert len(list(store.due(NOW))) == MANY % 1000


def test_saving_while_the_routed_ones_are_read(store: AnyStore) -> None:
    names = [f"{number}.example.org" for number in range(MANY)]
    store.save(routed(name) for name in names)
    seen = []
    for record in store.routed():
        seen.append(record.domain)
        if len(seen) % 1000 == 0:
            store.save([replace(record, established=None)])
    assert seen == sorted(names)


def test_counts(store: AnyStore) -> None:
    refused = replace(WAITING, is_refused=True)
    store.save(
        [
            routed("found.org", pending=refused),
            routed("waiting.org", answer=LastAnswer.NONE, pending=WAITING),
            DomainRecord("none.org", 1.0, answer=LastAnswer.NONE),
            DomainRecord("unknown.org", 1.0, answer=LastAnswer.UNKNOWN),
            DomainRecord("never.org", 1.0),
            routed("unlisted.org", listed=False, pending=WAITING),
        ]
    )
    assert store.counts() == Counts(listed=5, found=1, none=2, unknown=1, pending=1)


def test_a_batch_that_breaks_off_leaves_nothing(store: AnyStore) -> None:
    store.save([routed("a.org")])

    def broken() -> Iterator[DomainRecord]:
        yield DomainRecord("a.org", 1.0)
        yield DomainRecord("b.org", 1.0)
        raise RuntimeError("the run was interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        store.save(broken(), [taken("b.org")])
    assert list(store.routed()) == [routed("a.org")]
    assert store.history("b.org") == []


def test_a_list_that_breaks_off_changes_nothing(store: AnyStore) -> None:
    store.set_listed(["a.org"], NOW)

    def broken() -> Iterator[str]:
        yield "b.org"
        raise RuntimeError("the run was interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        store.set_listed(broken(), NOW)
    assert list(store.due(NOW)) == ["a.org"]
    assert store.set_listed(["a.org", "b.org"], NOW) == 1


def test_the_history_of_a_domain_has_an_end(store: AnyStore) -> None:
    for start in range(0, HISTORY_LENGTH * 2, 50):
        store.save([], [taken("a.org", float(at)) for at in range(start, start + 50)] + [taken("b.org", start)])
    assert [line.at for line in store.history("a.org")] == list(range(HISTORY_LENGTH, HISTORY_LENGTH * 2))
    assert [line.at for line in store.history("b.org")] == [0, 50, 100, 150]


def test_forgetting(store: AnyStore) -> None:
    store.save(
        [
            DomainRecord("gone.org", 1.0, listed=False, due_at=10.0),
            DomainRecord("gone-lately.org", 1.0, listed=False, due_at=20.0),
            DomainRecord("listed.org", 1.0, due_at=10.0),
            routed("routed.org", listed=False, due_at=10.0),
        ],
        [taken("gone.org"), taken("routed.org")],
    )
    assert store.forget(20.0) == 1
    assert set(store.get(["gone.org", "gone-lately.org", "listed.org", "routed.org"])) == {
        "gone-lately.org",
        "listed.org",
        "routed.org",
    }
    assert store.history("gone.org") == []
    assert store.history("routed.org") == [taken("routed.org")]
    assert store.forget(20.0) == 0


def test_pins_are_replaced_as_a_whole(store: AnyStore) -> None:
    store.set_pins({"a.org": ENDPOINTS, "b.org": ()})
    store.set_pins({"c.org": ENDPOINTS[:1]})
    assert store.pins() == {"c.org": ENDPOINTS[:1]}
    store.set_pins({})
    assert store.pins() == {}


def test_one_run_at_a_time(store: AnyStore, open_it: Open) -> None:
    other = open_it()
    with store.run_lock():
        with pytest.raises(LockedError, match=r"another .* nothing was changed"), other.run_lock():
            raise AssertionError("both have it")
        store.save([DomainRecord("a.org", 1.0)])
        assert list(other.due(NOW)) == ["a.org"], "others may read meanwhile"
    with other.run_lock():
        other.save([DomainRecord("b.org", 1.0)])
    assert store.counts().listed == 2


def test_the_lock_is_given_back_after_an_error(store: AnyStore, open_it: Open) -> None:
    with pytest.raises(RuntimeError), store.run_lock():
        raise RuntimeError("a bug")
    with open_it().run_lock():
        pass
