import asyncio
from collections import Counter

from onionmx.answer import Answer, CouldNotTell, NoRoute
from onionmx.cli.lookup import ask_all
from onionmx.config import DnsSection

DOMAINS = [f"{number}.example" for number in range(100)]


def test_concurrency_is_used_and_bounded() -> None:
    under_way = 0
    most = 0
    full = asyncio.Event()

    async def ask(domain: str) -> Answer:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 7:
            full.set()
        await full.wait()
        under_way -= 1
        return NoRoute(domain, "no SRV record")

    settings = DnsSection(concurrency=7)
    answers = asyncio.run(asyncio.wait_for(ask_all(DOMAINS, ask, settings), 120))
    assert most == 7
    assert answers == [NoRoute(domain, "no SRV record") for domain in DOMAINS]


def test_failures_are_asked_again_and_only_failures() -> None:
    asked: Counter[str] = Counter()

    async def ask(domain: str) -> Answer:
        asked[domain] += 1
        if domain == "never.example" or (domain == "later.example" and asked[domain] < 3):
            return CouldNotTell(domain, "SERVFAIL")
        return NoRoute(domain, "no SRV record")

    domains = ["now.example", "later.example", "never.example"]
    _, later, never = asyncio.run(ask_all(domains, ask, DnsSection(retries=2, retry_delay=0)))
    assert asked == {"now.example": 1, "later.example": 3, "never.example": 3}
    assert isinstance(later, NoRoute)
    assert isinstance(never, CouldNotTell)


def test_nothing_to_ask() -> None:
    async def ask(domain: str) -> Answer:
        raise AssertionError(domain)

    assert asyncio.run(ask_all([], ask, DnsSection())) == []
