"""What of a peer's replies is believed: never a success that cannot be meant."""

import re
from pathlib import Path

import pytest

from tests.relay.onion_mx import EXTENSIONS, OnionMx
from tests.relay.relay import AMPLE, take_time
from tests.relay.served import Site, codes, play

HUGE = b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 300_000
WITHOUT_CHUNKING = tuple(one for one in EXTENSIONS if one != "CHUNKING")


@pytest.mark.parametrize("extensions", [EXTENSIONS, WITHOUT_CHUNKING], ids=["BDAT", "DATA"])
@pytest.mark.parametrize("keep_limit", [1000, len(HUGE) * 2], ids=["streamed", "kept"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_success_before_the_message_has_left(
    tmp_path: Path, extensions: tuple[str, ...], keep_limit: int, count: int
) -> None:
    async def test(site: Site) -> None:
        recipients = [f"user{number}@example.org" for number in range(count)]
        reply = (await site.send(*recipients, lmtp=count == 1, content=HUGE))[-1]
        assert codes([reply]) == ["451 4.4.2"]
        # A first chunk may have left when it is answered; then the peer is silent about those behind it.
        assert keep_limit < len(HUGE) or re.search("before all of it was sent|a reply to nothing", reply)
        site.mx.is_hasty = False
        take_time(site.delivering)
        assert (await site.send("user@example.org"))[-1].startswith("250")
        assert len(site.mx.dialogs) == 2, "the session that was out of step is not used again"

    deadline = 4.0 if keep_limit < len(HUGE) else AMPLE
    play(tmp_path, test, OnionMx(is_hasty=True, extensions=extensions), keep_limit=keep_limit, deadline=deadline)
