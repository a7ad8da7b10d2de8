"""Nothing is released before its onions have been seen failing for the time, while others answered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from onionmx.fallback import observed as room
from onionmx.fallback.observed import EVIDENCE, GAP, LASTING, Observed
from onionmx.onion import Endpoint
from tests.mapfile.maps import ONIONS

A, B, C = ((onion, 25) for onion in ONIONS[:3])
A_TOO = (A[0], 2525)
AFTER = 3000.0
DOMAINS: dict[str, tuple[Endpoint, ...]] = {"a.example": (A,), "ab.example": (A, B), "a2.example": (A, A_TOO)}
NEVER = "never.example"


def after(domain: str) -> float | None:
    return None if domain == NEVER else AFTER


@dataclass
class Host:
    """A relay that watches, and a second account of what it saw."""

    now: float = 1000.0
    watch: Observed = field(default_factory=lambda: Observed(after))
    failures: dict[Endpoint, list[float]] = field(default_factory=dict)
    answers: dict[Endpoint, float] = field(default_factory=dict)

    def look(self) -> None:
        for domain, targets in DOMAINS.items():
            self.watch.wanted(domain, targets)
        self.watch.wanted(NEVER, (A,))

    def fail(self, endpoint: Endpoint) -> None:
        self.failures.setdefault(endpoint, []).append(self.now)
        self.watch.failed(endpoint, self.now)

    def answer(self, endpoint: Endpoint) -> None:
        self.failures.pop(endpoint, None)
        self.answers[endpoint] = self.now
        self.watch.answered(endpoint, self.now)

    def restart(self, pause: float) -> None:
        """The clock of the new process begins anywhere; nothing that was seen before is evidence."""
        kept = self.watch.keep()
        self.now += pause
        self.watch = Observed(after)
        self.watch.restore(kept)
        self.look()
        self.answers.clear()

    def seen(self, endpoint: Endpoint) -> float:
        """Seconds between failures since the last answer, longer pauses left out."""
        times = self.failures.get(endpoint, [])
        pauses = (later - earlier for earlier, later in pairwise(times))
        return sum(pause for pause in pauses if pause <= GAP)

    def check(self) -> None:
        for domain in self.watch.due(self.now):
            assert self.watch.release(domain, self.now)
            targets = DOMAINS[domain]
            assert all(self.seen(target) >= AFTER for target in targets)
            own = {onion for onion, _ in targets}
            others = [when for (onion, _), when in self.answers.items() if onion not in own]
            assert others
            assert self.now - max(others) <= EVIDENCE
        for domain in self.watch.released:
            assert all(self.failures.get(target) for target in DOMAINS[domain]), "an answer ends a release at once"


endpoints = st.sampled_from([A, A_TOO, B, C])
steps = st.one_of(
    st.tuples(st.just("fail"), endpoints),
    st.tuples(st.just("fail all"), st.just(A)),
    st.tuples(st.just("answer"), st.sampled_from([A, B, C, C, C])),
    st.tuples(st.just("wait"), st.floats(0, 1200)),
    st.tuples(st.just("restart"), st.floats(0, 10_000)),
)


@given(st.lists(steps, max_size=60))
def test_no_sequence_releases_early(sequence: list[tuple[str, object]]) -> None:
    host = Host()
    host.look()
    for kind, what in sequence:
        if kind == "fail":
            host.fail(what)  # type: ignore[arg-type]
        elif kind == "fail all":
            for endpoint in (A, A_TOO, B):
                host.fail(endpoint)
        elif kind == "answer":
            host.answer(what)  # type: ignore[arg-type]
        elif kind == "wait":
            host.now += what  # type: ignore[operator]
        else:
            host.restart(what)  # type: ignore[arg-type]
        host.check()


def fail_for(host: Host, seconds: float, step: float = 300.0, each: Callable[[], None] = lambda: None) -> None:
    end = host.now + seconds
    while host.now <= end:
        each()
        for endpoint in (A, A_TOO, B):
            host.fail(endpoint)
        host.now += step
    host.now -= step


def started() -> Host:
    host = Host()
    host.look()
    return host


def test_released_after_the_time_and_not_before() -> None:
    host = started()
    fail_for(host, AFTER - 300, each=lambda: host.answer(C))
    assert host.watch.due(host.now) == []
    host.now += 300
    host.answer(C)
    for endpoint in (A, A_TOO, B):
        host.fail(endpoint)
    assert sorted(host.watch.due(host.now)) == sorted(DOMAINS)


def test_never_without_evidence() -> None:
    host = started()
    fail_for(host, 10 * AFTER)
    assert host.watch.due(host.now) == []
    host.answer(C)
    for endpoint in (A, A_TOO, B):
        host.fail(endpoint)
    assert host.watch.due(host.now) == [], "the network was away, and is back"


def test_network_that_goes_away_ends_no_short_time() -> None:
    watch = Observed(lambda _: 300.0)
    watch.wanted("a.example", (A,))
    watch.answered(C, 1000.0)
    for now in (1000.0, 1200.0, 1400.0, 1600.0):
        watch.failed(A, now)
        assert watch.due(now) == [], "nobody has answered since it began to fail"
    watch.answered(C, 1600.0)
    assert watch.due(1600.0) == ["a.example"]


def test_another_port_of_the_same_onion_is_no_evidence() -> None:
    host = Host()
    host.watch.wanted("a.example", (A,))
    end = host.now + 2 * AFTER
    while host.now < end:
        host.answer(A_TOO)
        host.fail(A)
        host.now += 300
    assert host.watch.due(host.now) == []


def test_one_answer_ends_release_and_count() -> None:
    host = started()
    fail_for(host, AFTER, each=lambda: host.answer(C))
    host.check()
    assert host.watch.released == set(DOMAINS)
    changes = host.watch.changes
    host.answer(B)
    assert host.watch.released == {"a.example", "a2.example"}
    assert host.watch.changes > changes
    assert host.watch.failed_for("ab.example") == 0.0


def test_other_onions_begin_at_zero() -> None:
    host = started()
    fail_for(host, AFTER, each=lambda: host.answer(C))
    host.check()
    host.watch.wanted("a.example", (B,))
    assert "a.example" not in host.watch.released
    host.watch.wanted("a2.example", (A_TOO, A))
    assert "a2.example" in host.watch.released, "the order changes nothing"


def test_gaps_do_not_count() -> None:
    host = started()
    fail_for(host, 4 * AFTER, step=GAP + 1, each=lambda: host.answer(C))
    assert host.watch.due(host.now) == []


def test_release_that_nothing_confirms_ends() -> None:
    host = started()
    fail_for(host, AFTER, each=lambda: host.answer(C))
    host.check()
    host.now += LASTING + 1
    host.watch.expire(host.now)
    assert host.watch.released == set()


def test_rules_that_change() -> None:
    host = started()
    fail_for(host, AFTER, each=lambda: host.answer(C))
    host.check()
    host.watch.use(lambda domain: None if domain == "a.example" else 2 * AFTER)
    assert host.watch.released == set()
    assert host.watch.failed_for("a.example") == 0.0
    assert host.watch.failed_for("ab.example") > 0.0


def test_restart_releases_nothing_until_it_fails_again() -> None:
    host = started()
    fail_for(host, AFTER, each=lambda: host.answer(C))
    host.check()
    host.restart(10)
    assert host.watch.released == set()
    assert host.watch.due(host.now) == []
    assert C in host.watch.controls()
    host.answer(C)
    for endpoint in (A, A_TOO, B):
        host.fail(endpoint)
    assert sorted(host.watch.due(host.now)) == sorted(DOMAINS)


def test_memory_is_bounded() -> None:
    watch = Observed(after)
    watch.wanted("failing.example", (A,))
    watch.failed(A, 0.0)
    for number in range(room.DOMAINS + 10):
        watch.wanted(f"d{number}.example", ((ONIONS[3], 25),))
    assert len(watch._domains) == room.DOMAINS  # noqa: SLF001
    assert "failing.example" in watch.suspects
    for number in range(5000):
        watch.answered((ONIONS[4], number + 1), float(number))
    assert len(watch.controls()) <= 1000
