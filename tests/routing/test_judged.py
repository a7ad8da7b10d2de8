"""Who can forge answers of DNS changes no route of a live lookup, whatever is restarted in between."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.routing.cache_file import write_cache
from onionmx.sync.pending import Words, settle
from onionmx.sync.state.record import DomainRecord
from onionmx.target import Trust
from tests.authenticate.domains import REQUIREMENT
from tests.mapfile.maps import A, B, C, make_map
from tests.routing.live_host import LiveHost
from tests.sync.world import DAY, HOUR, Demanding, Silent, found, none, unknown

DOMAIN = "a.example"
GOOD, EVIL, OTHER = A, B, C


@pytest.fixture
def host(tmp_path: Path) -> LiveHost:
    return LiveHost(tmp_path)


def onions(answer: Answer) -> list[str]:
    assert isinstance(answer, Found), answer
    return [target.onion for target in answer.route.targets]


def forge(host: LiveHost, answer: Answer, days: float, step: float = 4 * HOUR) -> list[Answer]:
    """Answer this for some days; what was said meanwhile."""
    host.answers[DOMAIN] = answer
    said = []
    end = host.now + days * DAY
    while host.now < end:
        host.now += step
        said.append(host.ask(DOMAIN))
    return said


def test_a_forged_change_waits_over_restarts(host: LiveHost) -> None:
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    assert onions(host.ask(DOMAIN)) == [GOOD]
    for answer in forge(host, found(DOMAIN, EVIL), 2):
        assert onions(answer) == [GOOD]
        assert isinstance(answer, Found)
        assert "a change waits" in answer.notes[-1]
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    assert onions(host.ask(DOMAIN)) == [GOOD]


def test_a_forged_end_waits_over_restarts(host: LiveHost) -> None:
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    host.ask(DOMAIN)
    assert all(onions(answer) == [GOOD] for answer in forge(host, none(DOMAIN), 1.5))


def test_a_change_that_was_seen_for_long_is_taken(host: LiveHost) -> None:
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    host.ask(DOMAIN)
    said = forge(host, found(DOMAIN, OTHER), 4)
    assert onions(said[-1]) == [OTHER]


def test_a_signed_change_is_taken_at_once(host: LiveHost) -> None:
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    host.ask(DOMAIN)
    host.answers[DOMAIN] = found(DOMAIN, OTHER, trust=Trust.DNSSEC)
    answer = host.ask(DOMAIN)
    assert onions(answer) == [OTHER]
    assert isinstance(answer, Found)
    assert answer.route.trust is Trust.DNSSEC


def test_what_was_signed_stays_signed(host: LiveHost) -> None:
    host.answers[DOMAIN] = found(DOMAIN, GOOD, trust=Trust.DNSSEC)
    host.ask(DOMAIN)
    assert all(onions(answer) == [GOOD] for answer in forge(host, found(DOMAIN, EVIL), 5, 12 * HOUR))
    assert all(onions(answer) == [GOOD] for answer in forge(host, none(DOMAIN), 5, 12 * HOUR))


@pytest.mark.parametrize("of_domain", [False, True])
def test_only_signed_records_where_the_operator_says_so(host: LiveHost, *, of_domain: bool) -> None:
    if of_domain:
        host.beliefs.write_text(f"{DOMAIN} dnssec\n")
    else:
        host.trust = "dnssec"
    host.answers[DOMAIN] = found(DOMAIN, EVIL)
    answer = host.ask(DOMAIN)
    assert isinstance(answer, NoRoute)
    assert "only signed" in answer.reason
    host.answers[DOMAIN] = found(DOMAIN, GOOD, trust=Trust.DNSSEC)
    assert onions(host.ask(DOMAIN)) == [GOOD]
    host.answers[DOMAIN] = found(DOMAIN, EVIL)
    assert onions(host.ask(DOMAIN)) == [GOOD]


def test_every_record_where_the_operator_says_so(host: LiveHost) -> None:
    host.trust = "any"
    for onion in (GOOD, OTHER):
        host.answers[DOMAIN] = found(DOMAIN, onion)
        assert onions(host.ask(DOMAIN)) == [onion]
    host.answers[DOMAIN] = none(DOMAIN)
    assert isinstance(host.ask(DOMAIN), NoRoute)


def test_a_refusal_stands(host: LiveHost) -> None:
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    host.ask(DOMAIN)
    forge(host, found(DOMAIN, EVIL), 0.5)
    with closing(host.store()) as store:
        settle(store, Words(refused=[DOMAIN]), host.now)
    assert all(onions(answer) == [GOOD] for answer in forge(host, found(DOMAIN, EVIL), 4, 12 * HOUR))
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    assert onions(host.ask(DOMAIN)) == [GOOD]
    assert all(onions(answer) == [GOOD] for answer in forge(host, found(DOMAIN, EVIL), 4, 12 * HOUR))


def test_a_change_that_the_operator_accepts(host: LiveHost) -> None:
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    host.ask(DOMAIN)
    forge(host, found(DOMAIN, OTHER), 0.5)
    with closing(host.store()) as store:
        settle(store, Words(accepted=[DOMAIN]), host.now)
    assert onions(host.ask(DOMAIN)) == [OTHER]


def test_a_signed_denial_is_remembered(host: LiveHost) -> None:
    host.answers[DOMAIN] = none(DOMAIN, trust=Trust.DNSSEC)
    assert isinstance(host.ask(DOMAIN), NoRoute)
    assert all(isinstance(answer, NoRoute) for answer in forge(host, found(DOMAIN, EVIL), 2))


def test_two_processes_with_one_memory(host: LiveHost) -> None:
    """One of them is told lies."""
    host.answers[DOMAIN] = found(DOMAIN, GOOD)

    async def ask() -> None:
        first, second = host.router(), host.router()
        assert onions(await first.route(DOMAIN)) == [GOOD]
        host.answers[DOMAIN] = found(DOMAIN, EVIL)
        assert onions(await second.route(DOMAIN)) == [GOOD]
        await first.close()
        await second.close()

    asyncio.run(ask())


def test_what_is_not_known_lets_the_mail_wait(host: LiveHost) -> None:
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    host.ask(DOMAIN)
    content = host.memory.read_bytes()
    host.memory.write_bytes(b"\xff" * len(content))
    for answer in (found(DOMAIN, EVIL), none(DOMAIN), found(DOMAIN, EVIL, trust=Trust.DNSSEC)):
        host.answers[DOMAIN] = answer
        said = host.ask(DOMAIN)
        assert isinstance(said, CouldNotTell)
        assert "move it away" in said.reason
    host.memory.write_bytes(content)
    assert onions(host.ask(DOMAIN)) == [EVIL], "what was signed"


def test_silence_changes_nothing(host: LiveHost) -> None:
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    host.ask(DOMAIN)
    assert all(isinstance(answer, CouldNotTell) for answer in forge(host, unknown(DOMAIN), 40, DAY))
    host.answers[DOMAIN] = found(DOMAIN, EVIL)
    assert onions(host.ask(DOMAIN)) == [GOOD]


def test_the_map_wins(host: LiveHost, tmp_path: Path) -> None:
    host.answers[DOMAIN] = found(DOMAIN, EVIL)
    assert onions(host.ask(DOMAIN)) == [EVIL]
    make_map(tmp_path / "map.cdb", {DOMAIN: ((GOOD, 25),)})
    assert onions(host.ask(DOMAIN)) == [GOOD]


def test_a_full_memory_lets_new_unsigned_records_wait(host: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    host.ask(DOMAIN)
    monkeypatch.setattr("onionmx.sync.state.bounded.BoundedStore.room", lambda *_: False)
    assert onions(host.ask(DOMAIN)) == [GOOD]
    new = "new.example"
    host.answers[new] = found(new, GOOD)
    answer = host.ask(new)
    assert isinstance(answer, CouldNotTell)
    assert "lookup.memory_size" in answer.reason
    host.answers[new] = found(new, GOOD, trust=Trust.DNSSEC)
    assert onions(host.ask(new)) == [GOOD]
    assert isinstance(host.ask("none.example"), NoRoute)


def test_only_onions_that_prove_themselves(host: LiveHost) -> None:
    host.prover = Demanding([DOMAIN], [GOOD], REQUIREMENT.to_text())
    host.answers[DOMAIN] = found(DOMAIN, GOOD, EVIL)
    assert onions(host.ask(DOMAIN)) == [GOOD]


def test_what_proves_itself_is_taken_at_once(host: LiveHost) -> None:
    """Who was first does not keep it out."""
    host.prover = Demanding([DOMAIN], [GOOD], REQUIREMENT.to_text())
    host.answers[DOMAIN] = found(DOMAIN, EVIL)
    assert isinstance(host.ask(DOMAIN), NoRoute)
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    assert onions(host.ask(DOMAIN)) == [GOOD]


def test_what_was_never_proven_keeps_nothing_out(host: LiveHost) -> None:
    """Forged first, when the domain demanded a proof; now it demands none."""
    host.prover = Demanding([DOMAIN], [GOOD], REQUIREMENT.to_text())
    host.answers[DOMAIN] = found(DOMAIN, EVIL)
    assert isinstance(host.ask(DOMAIN), NoRoute)
    host.now += HOUR
    host.prover = Demanding(["other.example"], [], "")
    host.answers[DOMAIN] = found(DOMAIN, OTHER)
    assert onions(host.ask(DOMAIN)) == [OTHER]


def test_what_was_proven_stays_while_nobody_can_tell(host: LiveHost) -> None:
    host.prover = Demanding([DOMAIN], [GOOD], REQUIREMENT.to_text())
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    assert onions(host.ask(DOMAIN)) == [GOOD]
    host.prover = Silent()
    assert all(onions(answer) == [GOOD] for answer in forge(host, found(DOMAIN, GOOD), 10, DAY))


def test_a_demand_that_cannot_be_read_lets_the_mail_wait(host: LiveHost) -> None:
    host.prover = Silent()
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    assert isinstance(host.ask(DOMAIN), CouldNotTell)


def test_kept_answers_obey_the_rules_of_now(host: LiveHost, tmp_path: Path) -> None:
    """After a reload, and after a restart with a cache on the disk."""
    host.answers[DOMAIN] = found(DOMAIN, GOOD)

    async def ask() -> None:
        former = host.router()
        assert onions(await former.route(DOMAIN)) == [GOOD]
        write_cache(tmp_path / "cache", former.entries())
        host.trust = "dnssec"
        heir, restarted = host.router(), host.router()
        heir.inherit(former)
        restarted.load(tmp_path / "cache")
        for router in (heir, restarted):
            assert isinstance(await router.route(DOMAIN), NoRoute)
            await router.close()
        await former.close()

    asyncio.run(ask())


def test_a_change_is_seen_for_long_enough_without_any_mail(host: LiveHost) -> None:
    """It is asked for again by itself, after a restart too."""
    host.answers[DOMAIN] = found(DOMAIN, GOOD)
    host.ask(DOMAIN)
    host.answers[DOMAIN] = found(DOMAIN, OTHER)
    host.ask(DOMAIN)
    (waiting,) = (record for record in _records(host) if record.pending)
    assert waiting.due_at - host.now <= 10 * HOUR

    async def run() -> None:
        router = host.router()
        await router.route("b.example")
        judged = router._judged  # noqa: SLF001 -- its timers are not seen from outside
        assert judged
        await asyncio.gather(*judged._tasks)  # noqa: SLF001
        (timer,) = judged._watched.values()  # noqa: SLF001
        assert timer.when() - asyncio.get_running_loop().time() <= 10 * HOUR
        for _ in range(12):
            host.now += 8 * HOUR
            timer._run()  # noqa: SLF001
            timer.cancel()
            await asyncio.gather(*judged._tasks)  # noqa: SLF001
            if not judged._watched:  # noqa: SLF001
                break
            (timer,) = judged._watched.values()  # noqa: SLF001
        assert onions(await router.route(DOMAIN)) == [OTHER]
        await router.close()

    asyncio.run(run())


def _records(host: LiveHost) -> list[DomainRecord]:
    with closing(host.store()) as store:
        return list(store.routed())
