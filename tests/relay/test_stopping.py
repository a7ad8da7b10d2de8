"""The relay is stopped, and its grace ends, while a message is on its way to several onion MXes."""

import asyncio
from pathlib import Path

import pytest

from tests.mapfile.maps import A, B
from tests.relay.onion_mx import EXTENSIONS, SILENCE, Dialog, OnionMx
from tests.relay.served import MESSAGE, Site, codes, play

ENTRIES = {"example.org": ((A, 25),), "other.example": ((B, 25),)}


def says_nothing_at_the_end(dialog: Dialog, verb: str, _line: str) -> str | None:
    return SILENCE if verb == "END" and dialog.onion == B else None


async def replies_when_stopped(site: Site, recipients: list[str], taken: int) -> list[str]:
    """What the MTA hears by LMTP when the relay is stopped once so many onion MXes have taken the message."""
    async with site.connected() as wire:
        await wire.say("MAIL FROM:<me@sender.example>", *(f"RCPT TO:<{one}>" for one in recipients))
        wire.send(b"BDAT %d LAST\r\n%s" % (len(MESSAGE), MESSAGE))
        while len(site.mx.taken) < taken or not site.server.open_deliveries:  # noqa: ASYNC110 -- nothing tells it
            await asyncio.sleep(0)
        await site.server.close(1.5)  # for the reply that is under way
        replies = []
        while reply := await wire.reply():
            replies.append(reply)
        return replies


@pytest.mark.parametrize("is_turned", [False, True])
def test_final_reply_of_one_route_is_not_taken_away_by_another(tmp_path: Path, *, is_turned: bool) -> None:
    """Or the MTA would send again what was delivered."""
    recipients = ["a@example.org", "b@other.example"]
    expected = ["250 2.0.0", "451 4.4.2"]
    if is_turned:
        recipients.reverse()
        expected.reverse()

    async def test(site: Site) -> None:
        replies = await replies_when_stopped(site, recipients, 1)
        assert codes(replies) == [*expected, "421 4.3.2"]
        assert [taken.onion for taken in site.mx.taken] == [A]

    play(tmp_path, test, OnionMx(says_nothing_at_the_end), ENTRIES)


def test_nothing_final_is_421(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        replies = await replies_when_stopped(site, ["b@other.example"], 0)
        assert codes(replies) == ["421 4.3.2"]

    play(tmp_path, test, OnionMx(says_nothing_at_the_end), ENTRIES)


def test_final_reply_of_one_portion_is_not_taken_away_by_another(tmp_path: Path) -> None:
    """An onion MX that takes one recipient at a time, and falls silent at the second."""

    def answer(_dialog: Dialog, verb: str, line: str) -> str | None:
        return SILENCE if verb == "RCPT" and "b@" in line else None

    async def test(site: Site) -> None:
        replies = await replies_when_stopped(site, ["a@example.org", "b@example.org"], 1)
        assert codes(replies) == ["250 2.0.0", "452 4.5.3", "421 4.3.2"]

    play(tmp_path, test, OnionMx(answer, extensions=(*EXTENSIONS, "LIMITS RCPTMAX=1")), ENTRIES)
