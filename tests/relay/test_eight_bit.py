"""Messages declared as 8BITMIME for a peer that does not know it: what they are decides, not what was declared."""

from pathlib import Path

import pytest

from tests.relay.onion_mx import OnionMx
from tests.relay.served import MESSAGE, Site, codes, play

WAYS = {"LMTP": (True, 1), "SMTP": (False, 1), "SMTP, two recipients": (False, 2)}
ASCII = MESSAGE + (b"y" * 70 + b"\r\n") * 5000


@pytest.mark.parametrize("extensions", [("PIPELINING", "CHUNKING"), ("PIPELINING",), ()], ids=str)
@pytest.mark.parametrize("content", [MESSAGE, ASCII], ids=["kept", "streamed"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_ascii", [True, False], ids=["ASCII", "8 bit at the end"])
def test_declared_as_eight_bit(
    tmp_path: Path, extensions: tuple[str, ...], content: bytes, way: str, *, is_ascii: bool
) -> None:
    lmtp, count = WAYS[way]

    async def test(site: Site) -> None:
        names = [f"user{number}@example.org" for number in range(count)]
        whole = content if is_ascii else content + "ü\r\n".encode()
        reply = (await site.send(*names, lmtp=lmtp, mail=" BODY=8BITMIME", content=whole))[-1]
        assert codes([reply]) == ["250 2.0.0" if is_ascii else "554 5.6.3"]
        assert len(site.mx.taken) == is_ascii
        assert (await site.send("user@example.org"))[-1].startswith("250")

    play(tmp_path, test, OnionMx(extensions=extensions), keep_limit=2000)
