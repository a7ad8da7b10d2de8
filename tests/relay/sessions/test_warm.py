"""Circuits that stand before there is mail for them."""

import asyncio
from pathlib import Path

import pytest

from onionmx.relay.sessions.member import Destination
from onionmx.relay.sessions.warm import HALF_LIFE, Warmth
from tests.mapfile.maps import A, B
from tests.relay.onion_mx import OnionMx
from tests.relay.served import Site, play


def test_recent_messages_count_more() -> None:
    clock = [0.0]
    warmth = Warmth(lambda: clock[0])
    first, second, third = (Destination((onion, port)) for onion, port in ((A, 25), (B, 25), (B, 2525)))
    for _ in range(10):
        warmth.count(first)
    clock[0] = 4 * HALF_LIFE
    warmth.count(second)
    assert warmth.busiest(2) == [second, first]
    clock[0] += 100 * HALF_LIFE
    for each in (third, third, second):
        warmth.count(each)
    clock[0] += HALF_LIFE
    assert warmth.busiest(1) == [third]
    assert warmth.busiest(9) == [third, second, first]
    assert warmth.busiest(0) == []


@pytest.mark.parametrize("warm", [0, 1])
def test_onion_mx_with_most_mail_gets_a_session_again(tmp_path: Path, warm: int) -> None:
    async def test(site: Site) -> None:
        await site.send("user@example.org")
        (endpoints,) = site.delivering._pool._pools.values()  # noqa: SLF001
        endpoints.drop_idle()
        for _ in range(2):
            await site.delivering.tend()
            assert len(endpoints._opening) == warm  # noqa: SLF001
        await asyncio.gather(*endpoints._opening)  # noqa: SLF001
        assert len(site.mx.dialogs) == 1 + warm
        assert len(site.mx.taken) == 1

    play(tmp_path, test, OnionMx(), warm=warm)
