"""The cache against a plain model of what may be kept; time is told, never waited for."""

from collections import OrderedDict
from math import ceil, inf
from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from onionmx.answer import Answer, Found, NoRoute
from onionmx.config import LookupSection
from onionmx.routing.cache import HOLD, Cache, CacheEntry
from onionmx.target import Route, Source, Target, Trust
from tests.onions import make_onion

TARGETS = (Target(make_onion("a"), 25, 0, 5), Target(make_onion("b"), 2525, 0, 5))
SETTINGS = LookupSection(cache_size=3, min_ttl=5, max_ttl=1000, max_stale_seconds=5000)


def found(domain: str = "example.org", ttl: int | None = 100) -> Found:
    return Found(Route(domain, TARGETS, Source.SRV, Trust.DNSSEC, ttl), ("left out: x",))


def none(domain: str = "example.org", ttl: int | None = 100) -> NoRoute:
    return NoRoute(domain, "no such name in DNS", ttl)


def shown(cache: Cache, domain: str, now: float) -> Answer | None:
    """What a person sees of a fresh answer."""
    standing = cache.fresh(domain, now)
    return cache.with_time_left(standing.answer, now) if standing else None


def make_cache(settings: LookupSection = SETTINGS) -> Cache:
    return Cache(settings, Random(1))


def test_kept_for_its_ttl_with_what_is_left_of_it() -> None:
    cache = make_cache()
    cache.store(found(ttl=100), 0)
    assert shown(cache, "example.org", 0) == found(ttl=100)
    assert shown(cache, "example.org", 39.5) == found(ttl=61)
    assert shown(cache, "example.org", 99.9) == found(ttl=1)
    assert cache.fresh("example.org", 100) is None
    assert cache.fresh("example.net", 0) is None


def test_an_answer_stands_until_its_time_is_over() -> None:
    cache = make_cache()
    cache.store(found(), 0)
    standing = cache.fresh("example.org", 0.2)
    assert standing
    assert (standing.until, standing.asked_at, standing.hits.number) == (100, 0.2, 1)
    assert cache.fresh("example.org", 90) is standing
    assert cache.hits.number == 2


def test_an_answer_that_is_no_longer_kept_does_not_stand() -> None:
    def forget(cache: Cache) -> None:
        cache.purge("example.org")

    def replace(cache: Cache) -> None:
        cache.store(none("example.org"), 2)

    def make_room(cache: Cache) -> None:
        for name in "abc":
            cache.store(found(name), 2)

    for take_back in (forget, replace, make_room):
        cache = make_cache()
        cache.store(found(), 0)
        standing = cache.fresh("example.org", 1)
        take_back(cache)
        assert standing
        assert standing.until == -inf


def test_after_a_failure_an_answer_stands_again_only_when_the_next_question_is_planned() -> None:
    cache = make_cache()
    cache.store(found(), 0)
    standing = cache.fresh("example.org", 1)
    assert standing
    assert cache.due(95) == "example.org"
    cache.fail("example.org", "no answer", 95)
    assert standing.until == -inf
    assert cache.next_due == inf
    assert cache.fresh("example.org", 96) is standing
    assert standing.until == 100
    assert cache.next_due < inf


def test_time_left_of_what_is_not_kept() -> None:
    cache = make_cache()
    cache.store(found(), 0)
    pinned = Found(Route("example.org", TARGETS, Source.PIN, Trust.PINNED))
    for answer in (pinned, none("example.net"), found(ttl=7)):
        assert cache.with_time_left(answer, 1) is answer


@pytest.mark.parametrize("answer", [found(ttl=0), none(ttl=0)])
def test_shortest_time(answer: Found | NoRoute) -> None:
    cache = make_cache()
    cache.store(answer, 0)
    assert cache.fresh("example.org", 4.9)
    assert cache.fresh("example.org", 5) is None


@pytest.mark.parametrize("answer", [found(ttl=2**31 - 1), none(ttl=2**31 - 1)])
def test_longest_time(answer: Found | NoRoute) -> None:
    cache = make_cache()
    cache.store(answer, 0)
    assert cache.fresh("example.org", 999)
    assert cache.fresh("example.org", 1000) is None


def test_answers_that_are_not_from_dns_are_not_kept() -> None:
    cache = make_cache()
    cache.store(found(ttl=None), 0)
    cache.store(none(ttl=None), 0)
    assert len(cache) == 0


def test_expired_route_is_marked_and_says_why() -> None:
    cache = make_cache()
    cache.store(found(ttl=100), 0)
    assert cache.stale("example.org", 99) is None
    cache.fail("example.org", "answered SERVFAIL", 120)
    answer = cache.stale("example.org", 130)
    assert answer
    assert (answer.route.stale, answer.route.ttl, answer.route.targets) == (True, 0, TARGETS)
    assert answer.notes == ("left out: x", "its time was over 30 s ago; kept because answered SERVFAIL")
    assert cache.stale("example.org", 5099)
    assert cache.stale("example.org", 5100) is None


def test_expired_no_route_is_never_used() -> None:
    cache = make_cache()
    cache.store(none(ttl=100), 0)
    cache.fail("example.org", "answered SERVFAIL", 100)
    assert cache.fresh("example.org", 100) is None
    assert cache.stale("example.org", 100) is None


def test_after_a_failure_dns_need_not_be_waited_for() -> None:
    cache = make_cache()
    cache.store(found(), 0)
    assert not cache.is_held("example.org", 100)
    cache.fail("example.org", "no answer", 100)
    assert cache.is_held("example.org", 100 + HOLD - 1)
    assert not cache.is_held("example.org", 100 + HOLD)
    cache.store(found(), 110)
    assert not cache.is_held("example.org", 110)


def test_failure_of_a_domain_that_is_not_kept_leaves_nothing() -> None:
    cache = make_cache()
    cache.fail("example.org", "no answer", 0)
    assert len(cache) == 0
    assert not cache.is_held("example.org", 0)


def test_used_entries_are_due_before_their_time_is_over() -> None:
    cache = make_cache()
    for name in "abc":
        cache.store(found(name), 0)
    assert cache.next_due == inf
    cache.fresh("a", 1)
    cache.fresh("b", 2)
    assert 80 <= cache.next_due <= 95
    assert cache.due(cache.next_due - 0.1) is None
    assert {cache.due(95), cache.due(95)} == {"a", "b"}
    assert cache.due(95) is None
    assert cache.due(1000) is None, "what is being asked is not due a second time"


def test_refreshed_entry_is_due_again_only_when_it_was_used_again() -> None:
    cache = make_cache()
    cache.store(found(), 0)
    cache.fresh("example.org", 1)
    assert cache.due(95) == "example.org"
    cache.store(found(), 95)
    assert cache.next_due == inf
    cache.fresh("example.org", 100)
    assert cache.due(190) == "example.org"


def test_late_use_is_due_at_once() -> None:
    cache = make_cache()
    cache.store(found(), 0)
    cache.fresh("example.org", 96)
    assert cache.due(96) == "example.org"


def test_after_a_failed_refresh_it_is_tried_again_only_when_used() -> None:
    cache = make_cache()
    cache.store(found(), 0)
    cache.fresh("example.org", 1)
    assert cache.due(95) == "example.org"
    cache.fail("example.org", "no answer", 95)
    assert cache.due(200) is None
    assert cache.stale("example.org", 100)
    assert cache.due(124) is None
    assert cache.due(135) == "example.org"


def test_moments_of_refresh_are_spread() -> None:
    cache = make_cache(LookupSection(cache_size=1000))
    for number in range(1000):
        cache.store(found(str(number)), 0)
        cache.fresh(str(number), 1)
    moments = [0 for _ in range(95)]
    for second in range(95):
        while cache.due(second):
            moments[second] += 1
    assert max(moments) < 150
    assert min(moments[81:]) > 20


def test_asked_for_longest_ago_gives_way() -> None:
    cache = make_cache()
    for name in "abc":
        cache.store(found(name), 0)
    cache.fresh("a", 1)
    cache.store(found("d"), 2)
    assert [entry.domain for entry in cache.entries(2)] == ["c", "a", "d"]
    assert cache.evictions == 1


def test_junk_does_not_make_the_schedule_grow() -> None:
    cache = make_cache()
    for number in range(10_000):
        cache.store(none(str(number)), 0)
        cache.fresh(str(number), 0)
    assert len(cache) == 3
    assert len(cache._schedule) < 100  # noqa: SLF001 -- memory that nothing else shows


def test_restored_entry_lives_no_longer_than_a_new_one() -> None:
    cache = make_cache()
    cache.restore(CacheEntry("a", found("a"), 10**9), 0)
    assert cache.fresh("a", 999)
    assert cache.fresh("a", 1000) is None
    cache.restore(CacheEntry("b", found("b"), -10), 0)
    assert cache.stale("b", 0)
    cache.restore(CacheEntry("c", none("c"), -10), 0)
    cache.restore(CacheEntry("d", found("d"), -5000), 0)
    assert {entry.domain for entry in cache.entries(0)} == {"a", "b"}


def test_entries_of_one_cache_in_another() -> None:
    first, second = make_cache(), make_cache()
    first.store(found("a", 100), 0)
    first.store(none("b", 50), 0)
    for entry in first.entries(20):
        second.restore(entry, 7000)
    assert shown(second, "a", 7000) == found("a", 80)
    assert shown(second, "b", 7029) == none("b", 1)
    assert second.fresh("b", 7030) is None


class CacheAndModel(RuleBasedStateMachine):
    """The cache agrees with a dictionary of what DNS said and when its time is over."""

    domains = st.sampled_from("abcde")
    ttls = st.integers(0, 2000)

    def __init__(self) -> None:
        super().__init__()
        self.cache = Cache(SETTINGS, Random(2))
        self.now = 0.0
        self.model: OrderedDict[str, tuple[bool, float]] = OrderedDict()
        self.asking: set[str] = set()

    def a_moment_later(self) -> None:
        """No two domains are asked for at the same time."""
        self.now += 2**-20

    def keep(self, domain: str, ttl: int, *, is_route: bool) -> None:
        self.model[domain] = is_route, self.now + min(max(ttl, 5), 1000)
        self.model.move_to_end(domain)
        if len(self.model) > SETTINGS.cache_size:
            self.model.popitem(last=False)
        self.asking.discard(domain)

    @rule(seconds=st.one_of(st.integers(0, 2000), st.floats(0, 50), st.just(100_000)))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds

    @rule(domain=domains, ttl=ttls)
    def store_route(self, domain: str, ttl: int) -> None:
        self.a_moment_later()
        self.cache.store(found(domain, ttl), self.now)
        self.keep(domain, ttl, is_route=True)

    @rule(domain=domains, ttl=ttls)
    def store_no_route(self, domain: str, ttl: int) -> None:
        self.a_moment_later()
        self.cache.store(none(domain, ttl), self.now)
        self.keep(domain, ttl, is_route=False)

    @rule(domain=domains)
    def fail(self, domain: str) -> None:
        self.cache.fail(domain, "no answer", self.now)
        self.asking.discard(domain)
        assert self.cache.is_held(domain, self.now) == (domain in self.model)

    @rule(domain=domains)
    def look_up(self, domain: str) -> None:
        self.a_moment_later()
        is_route, expires = self.model.get(domain, (False, -inf))
        answer = shown(self.cache, domain, self.now)
        stale = self.cache.stale(domain, self.now)
        if self.now < expires:
            expected = (found if is_route else none)(domain, ceil(expires - self.now))
            assert (answer, stale) == (expected, None)
        elif is_route and self.now - expires < SETTINGS.max_stale_seconds:
            assert answer is None
            assert stale
            assert stale.route.stale
        else:
            assert (answer, stale) == (None, None)
        if answer or stale:
            self.model.move_to_end(domain)

    @rule(domain=domains)
    def purge(self, domain: str) -> None:
        assert self.cache.purge(domain) == (self.model.pop(domain, None) is not None)
        self.asking.discard(domain)
        assert self.cache.fresh(domain, self.now) is None
        assert self.cache.stale(domain, self.now) is None

    @precondition(lambda self: self.cache.next_due <= self.now)
    @rule()
    def something_is_due(self) -> None:
        while (domain := self.cache.due(self.now)) is not None:
            assert domain in self.model
            assert domain not in self.asking
            self.asking.add(domain)
        assert self.cache.next_due > self.now

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert len(self.cache) == len(self.model)
        usable = [
            domain
            for domain, (is_route, expires) in self.model.items()
            if self.now < expires or (is_route and self.now - expires < SETTINGS.max_stale_seconds)
        ]
        assert [entry.domain for entry in self.cache.entries(self.now)] == usable


TestCacheAndModel = CacheAndModel.TestCase
