"""What an onion MX says, as clients and the log hear it: in ASCII unless MAIL had SMTPUTF8, and never as a trick."""

from pathlib import Path

import pytest

from tests.relay.onion_mx import Dialog, OnionMx
from tests.relay.served import Site, play

SAID = "550 5.1.1 größe \u202egnp.exe\u202c \u2028second \U000e0041"
TRICKS = {"\u202e", "\u202c", "\u2028", "\U000e0041"}


def refusing(_dialog: Dialog, verb: str, _line: str) -> str | None:
    return SAID if verb == "RCPT" else None


@pytest.mark.parametrize("lmtp", [True, False], ids=["LMTP", "SMTP"])
@pytest.mark.parametrize("mail", ["", " SMTPUTF8"])
def test_reply_of_an_onion_mx(tmp_path: Path, caplog: pytest.LogCaptureFixture, mail: str, *, lmtp: bool) -> None:
    async def test(site: Site) -> None:
        said = (await site.send("user@example.org", lmtp=lmtp, mail=mail))[-1]
        assert said.startswith("550 5.1.1 onion-mx said: gr")
        assert r"\u202egnp.exe\u202c \u2028second \U000e0041" in said
        assert ("größe" if mail else r"gr\xf6\xdfe") in said
        assert not TRICKS & set(said)

    play(tmp_path, test, OnionMx(refusing))
    assert not TRICKS & set(caplog.text)
