"""Senders and parameters that no RFC knows and other MTAs pass all the same: never a bounce of ours."""

from pathlib import Path

import pytest

from tests.relay.onion_mx import EXTENSIONS, OnionMx
from tests.relay.served import Site, play

PLAIN = ("PIPELINING", "CHUNKING", "DSN")
LONG = b"SRS0=" + b"b" * 240 + b"@long.sender.example"
SENDERS = [LONG, b"andr\xe9@sender.example", "andré@sender.example".encode(), rb"a\b@sender.example"]


@pytest.mark.parametrize("extensions", [EXTENSIONS, PLAIN], ids=["SMTPUTF8", "plain"])
@pytest.mark.parametrize("sender", SENDERS, ids=repr)
@pytest.mark.parametrize("count", [1, 2])
def test_a_sender_goes_on_as_it_came(tmp_path: Path, sender: bytes, extensions: tuple[str, ...], count: int) -> None:
    async def test(site: Site) -> None:
        async with site.connected(lmtp=False) as wire:
            named = [f"RCPT TO:<u{number}@example.org>" for number in range(count)]
            replies = await wire.say(b"MAIL FROM:<" + sender + b">", *named, "DATA")
            assert [reply[:3] for reply in replies] == ["250"] * (count + 1) + ["354"]
            assert (await wire.dot()).startswith("250")
        (taken,) = site.mx.taken
        assert taken.sender.encode("utf-8", "surrogateescape") == sender
        (mail,) = (command for command in site.mx.commands if command.startswith("MAIL"))
        assert ("SMTPUTF8" in mail) is (extensions is EXTENSIONS and sender == SENDERS[2])

    play(tmp_path, test, OnionMx(extensions=extensions), log_addresses=True)


@pytest.mark.parametrize(
    ("mail", "rcpt", "sent"),
    [
        (" ENVID=a+2bc", " ORCPT=rfc822;a+2bc@d", ("ENVID=a+2Bc", "ORCPT=rfc822;a+2Bc@d")),
        (" ENVID=a+b", " ORCPT=rfc822;a+b=c@d", ("ENVID=a+2Bb", "ORCPT=rfc822;a+2Bb+3Dc@d")),
        (" ENVID=" + "x" * 301, " ORCPT=rfc822;" + "o" * 500, None),
        (" ENVID=ü", " ORCPT=nothing", None),
    ],
)
def test_envid_and_orcpt(tmp_path: Path, mail: str, rcpt: str, sent: tuple[str, str] | None) -> None:
    async def test(site: Site) -> None:
        replies = await site.send("user@example.org", mail=mail, rcpt=rcpt)
        assert [reply[:3] for reply in replies] == ["250", "250"]
        said = [command for command in site.mx.commands if command.startswith(("MAIL", "RCPT"))]
        if sent is None:
            assert not any("ENVID" in command or "ORCPT" in command for command in said)
        else:
            assert [command.split(" ")[-1] for command in said] == list(sent)

    play(tmp_path, test, OnionMx())
