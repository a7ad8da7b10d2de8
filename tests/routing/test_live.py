"""Live routes: one question at a time for a domain, nobody held up by another, never "no route" by mistake."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from onionmx.answer import Answer, CouldNotTell, Found
from onionmx.config import LookupSection
from onionmx.routing.live import LiveRoutes
from tests.routing.scripted_dns import Clock, ScriptedDns, found, none, unknown

DAY = 86400
LONG = 3600.0
"""Seconds of patience that no test waits for."""


class Site:
    def __init__(self, patience: float = LONG, settings: LookupSection | None = None) -> None:
        self.dns = ScriptedDns()
        self.clock = Clock()
        self.live = LiveRoutes(self.dns.ask, settings or LookupSection(), self.clock, patience)

    def known(self, domain: str) -> Answer | None:
        """What is known of a domain."""
        standing = self.live.known(domain)
        return standing.answer if standing else None

    async def keep(self, answer: Answer, domain: str = "example.org") -> None:
        """Have this answer in the cache."""
        self.dns.answers[domain] = answer
        assert await self.live.route(domain) == answer
        del self.dns.answers[domain]


def run(test: Callable[[Site], Awaitable[None]], patience: float = LONG, settings: LookupSection | None = None) -> None:
    async def whole() -> None:
        site = Site(patience, settings)
        try:
            async with asyncio.timeout(120):  # a test that hangs has failed
                await test(site)
        finally:
            await site.live.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())


async def questions_end() -> None:
    """Wait for all tasks but this one."""
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})


def test_asked_once_then_known() -> None:
    async def test(site: Site) -> None:
        assert site.known("example.org") is None
        await site.keep(found("example.org", 100))
        site.clock.now += 10
        assert site.known("example.org") == found("example.org", 100)
        assert site.live.with_time_left(await site.live.route("example.org")) == found("example.org", 90)
        assert site.dns.asked == ["example.org"]
        stats = site.live.stats()
        assert (stats.hits, stats.misses, stats.size) == (2, 1, 1)

    run(test)


def test_identical_questions_are_asked_once() -> None:
    async def test(site: Site) -> None:
        lookups = [asyncio.create_task(site.live.route("example.org")) for _ in range(50)]
        await site.dns.reply(found("example.org"))
        assert set(await asyncio.gather(*lookups)) == {found("example.org")}
        assert site.dns.asked == ["example.org"]
        stats = site.live.stats()
        assert (stats.misses, stats.coalesced) == (1, 49)

    run(test)


def test_who_gives_up_does_not_end_the_question_of_the_others() -> None:
    async def test(site: Site) -> None:
        first = asyncio.create_task(site.live.route("example.org"))
        await site.dns.wait_for_question("example.org")
        second = asyncio.create_task(site.live.route("example.org"))
        first.cancel()
        await asyncio.wait((first,))
        assert first.cancelled()
        await site.dns.reply(none("example.org"))
        assert await second == none("example.org")
        assert site.dns.asked == ["example.org"]

    run(test)


def test_answer_that_nobody_waits_for_any_more_is_kept() -> None:
    async def test(site: Site) -> None:
        lookup = asyncio.create_task(site.live.route("example.org"))
        await site.dns.wait_for_question("example.org")
        lookup.cancel()
        await asyncio.wait((lookup,))
        await site.dns.reply(found("example.org"))
        await questions_end()
        assert site.known("example.org")

    run(test)


def test_hanging_names_hold_up_nobody_else() -> None:
    """One name in ten hangs; the others are answered while it does, however many there are."""

    async def test(site: Site) -> None:
        hanging = [f"hanging{number}.example" for number in range(100)]
        others = [f"other{number}.example" for number in range(900)]
        site.dns.answers = {domain: found(domain) for domain in others}
        waiting = {domain: asyncio.create_task(site.live.route(domain)) for domain in hanging}
        for domain in hanging:
            await site.dns.wait_for_question(domain)
        assert await asyncio.gather(*map(site.live.route, others)) == [found(domain) for domain in others]
        assert not any(task.done() for task in waiting.values())
        for domain in hanging:
            await site.dns.reply(unknown(domain))
            assert await waiting[domain] == unknown(domain)

    run(test)


def test_failures_are_not_kept_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test(site: Site) -> None:
        lookups = [asyncio.create_task(site.live.route("example.org")) for _ in range(10)]
        await site.dns.reply(unknown("example.org"))
        assert set(await asyncio.gather(*lookups)) == {unknown("example.org")}
        assert [record.getMessage() for record in caplog.records] == ["example.org: could not tell: answered SERVFAIL"]
        assert site.known("example.org") is None
        await site.keep(found("example.org"))
        assert site.dns.asked == ["example.org"] * 2
        assert site.live.stats().failures == 1

    run(test)


@pytest.mark.parametrize("kept", [None, none("example.org")])
def test_could_not_tell_is_never_no_route(kept: Answer | None) -> None:
    async def test(site: Site) -> None:
        if kept:
            await site.keep(kept)
            site.clock.now += 101
        site.dns.answers["example.org"] = unknown("example.org")
        assert await site.live.route("example.org") == unknown("example.org")

    run(test)


def test_expired_route_stays_in_use_while_dns_fails() -> None:
    async def test(site: Site) -> None:
        await site.keep(found("example.org", 100))
        site.clock.now += 150
        site.dns.answers["example.org"] = unknown("example.org", "answered SERVFAIL")
        answer = await site.live.route("example.org")
        assert isinstance(answer, Found)
        assert answer.route.stale
        assert answer.notes == ("its time was over 50 s ago; kept because answered SERVFAIL",)
        again = site.known("example.org")
        assert isinstance(again, Found), "what failed a moment ago is not waited for again"
        assert again.route.stale
        assert site.dns.asked == ["example.org"] * 2
        assert site.live.stats().stale == 2

    run(test)


def test_expired_route_gives_way_to_an_answer_in_time() -> None:
    async def test(site: Site) -> None:
        await site.keep(found("example.org", 100))
        site.clock.now += 101
        lookup = asyncio.create_task(site.live.route("example.org"))
        await site.dns.reply(none("example.org"))
        assert await lookup == none("example.org")

    run(test)


def test_dns_is_not_waited_for_for_long_while_there_is_an_expired_route() -> None:
    async def test(site: Site) -> None:
        await site.keep(found("example.org", 100))
        site.clock.now += 101
        answer = await site.live.route("example.org")
        assert isinstance(answer, Found)
        assert answer.route.stale
        assert answer.notes[-1].endswith("kept because DNS is slow")
        await site.dns.reply(found("example.org", 60))
        await questions_end()
        assert site.known("example.org") == found("example.org", 60)

    run(test, patience=0.01)


def test_a_question_is_given_only_where_nothing_can_take_its_place() -> None:
    async def test(site: Site) -> None:
        question = site.live.question("example.net")
        assert question
        assert site.live.question("example.net") is question
        lookup = asyncio.create_task(site.live.route("example.net"))
        await site.dns.reply(none("example.net"))
        assert await question == await lookup == none("example.net")
        assert (site.live.stats().misses, site.live.stats().coalesced) == (1, 2)
        await site.keep(found("example.org", 100))
        site.clock.now += 101
        assert site.live.question("example.org") is None, "the expired route may have to do"
        await site.live.close()
        assert site.live.question("example.com") is None

    run(test)


def test_after_max_stale_nobody_can_tell() -> None:
    async def test(site: Site) -> None:
        await site.keep(found("example.org", 100))
        site.clock.now += 100 + 7 * DAY
        site.dns.answers["example.org"] = unknown("example.org")
        assert await site.live.route("example.org") == unknown("example.org")

    run(test)


def test_no_stale_routes_where_they_are_not_wanted() -> None:
    async def test(site: Site) -> None:
        await site.keep(found("example.org", 100))
        site.clock.now += 100
        site.dns.answers["example.org"] = unknown("example.org")
        assert await site.live.route("example.org") == unknown("example.org")

    run(test, settings=LookupSection(max_stale_seconds=0))


def test_entries_in_use_are_refreshed_before_their_time_is_over() -> None:
    async def test(site: Site) -> None:
        for domain in ("used.example", "unused.example"):
            await site.keep(found(domain, 100), domain)
        site.known("used.example")
        site.clock.now += 96
        site.live.refresh()
        await site.dns.reply(found("used.example", 500))
        await questions_end()
        site.clock.now += 10
        assert site.known("used.example") == found("used.example", 500)
        assert site.known("unused.example") is None
        assert site.dns.asked == ["used.example", "unused.example", "used.example"]
        assert site.live.stats().refreshes == 1

    run(test)


def test_the_timer_refreshes() -> None:
    async def test(site: Site) -> None:
        await site.keep(found("example.org", 100))
        site.clock.now += 96
        assert site.known("example.org"), "its moment was over when it was used first: due at once"
        await site.dns.reply(found("example.org"))

    run(test)


def test_failed_refresh_keeps_the_route(caplog: pytest.LogCaptureFixture) -> None:
    async def test(site: Site) -> None:
        await site.keep(found("example.org", 100))
        site.known("example.org")
        site.clock.now += 96
        site.live.refresh()
        await site.dns.reply(unknown("example.org"))
        await questions_end()
        assert site.known("example.org") == found("example.org", 100)
        site.clock.now += 5
        answer = site.known("example.org")
        assert isinstance(answer, Found)
        assert answer.route.stale
        assert len(caplog.records) == 1

    run(test)


def test_each_domain_fails_aloud_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def test(site: Site) -> None:
        for domain in ("example.org", "example.org", "example.net"):
            lookup = asyncio.create_task(site.live.route(domain))
            await site.dns.reply(unknown(domain))
            assert await lookup == unknown(domain)
        lines = [record.getMessage() for record in caplog.records]
        assert lines == [
            f"{domain}: could not tell: {unknown(domain).reason}" for domain in ("example.org", "example.net")
        ]

    run(test)


def test_refreshes_that_hang_do_not_hold_up_lookups() -> None:
    async def test(site: Site) -> None:
        domains = [f"d{number}.example" for number in range(200)]
        for domain in domains:
            await site.keep(found(domain, 100), domain)
            site.known(domain)
        site.clock.now += 96
        site.live.refresh()
        under_way = site.live.stats().asking
        assert 0 < under_way < len(domains), "a bounded number at the same time"
        site.clock.now += 10
        untouched = next(domain for domain in domains if domain not in site.dns.asked[len(domains) :])
        lookup = asyncio.create_task(site.live.route(untouched))
        await site.dns.reply(none(untouched))
        assert await lookup == none(untouched)

    run(test)


def test_bug_in_asking_is_could_not_tell(caplog: pytest.LogCaptureFixture) -> None:
    async def whole() -> None:
        async def ask(domain: str) -> Answer:
            raise KeyError(domain)

        live = LiveRoutes(ask, LookupSection())
        answer = await live.route("example.org")
        assert answer == CouldNotTell("example.org", "internal error, which the log describes")
        await live.close()

    asyncio.run(whole())
    assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


def test_closing_tells_those_who_wait() -> None:
    async def test(site: Site) -> None:
        lookup = asyncio.create_task(site.live.route("example.org"))
        await site.dns.wait_for_question("example.org")
        await site.live.close()
        assert await lookup == CouldNotTell("example.org", "stopped before DNS answered")
        assert isinstance(await site.live.route("example.org"), CouldNotTell)

    run(test)


def test_closing_at_once_after_the_question() -> None:
    async def test(site: Site) -> None:
        lookup = asyncio.create_task(site.live.route("example.org"))
        await asyncio.sleep(0)
        await site.live.close()
        assert isinstance(await lookup, CouldNotTell)

    run(test)


def test_purged_domain_is_asked_again() -> None:
    async def test(site: Site) -> None:
        await site.keep(found("example.org"))
        assert site.live.purge("example.org")
        assert not site.live.purge("example.org")
        await site.keep(none("example.org"))
        assert site.dns.asked == ["example.org"] * 2

    run(test)
