"""Each recipient gets its own answer, and only its own, whatever came before it in the transaction."""

import itertools
from pathlib import Path

import pytest

from tests.mapfile.maps import A, B, C
from tests.relay.onion_mx import Dialog, OnionMx
from tests.relay.served import MESSAGE, Site, codes, play

ANSWERS = {"good": "250 2.1.5", "grey": "451 4.2.1", "nobody": "550 5.1.1"}


def by_name(_dialog: Dialog, verb: str, line: str) -> str | None:
    if verb != "RCPT":
        return None
    return next((f"{answer} {name}" for name, answer in ANSWERS.items() if f"<{name}" in line), None)


@pytest.mark.parametrize("names", list(itertools.product(ANSWERS, repeat=3)), ids="-".join)
def test_pipelined_recipients_by_smtp(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Those refused, in front of, among and behind those accepted: each hears what the onion MX says of it."""
    recipients = [f"{name}{place}@example.org" for place, name in enumerate(names)]

    async def test(site: Site) -> None:
        async with site.connected(lmtp=False) as wire:
            _, *replies, data = await wire.say(
                "MAIL FROM:<me@sender.example>", *(f"RCPT TO:<{one}>" for one in recipients), "DATA"
            )
            assert codes(replies) == [ANSWERS[name] for name in names]
            accepted = tuple(one for one, name in zip(recipients, names, strict=True) if name == "good")
            assert data.startswith("354" if accepted else "503")
            if accepted:
                assert (await wire.dot()).startswith("250")
        assert [taken.recipients for taken in site.mx.taken] == ([accepted] if accepted else [])
        named = [command for command in site.mx.commands if command.startswith("RCPT")]
        assert named == [f"RCPT TO:<{one}>" for one in recipients], "each was asked once"

    play(tmp_path, test, OnionMx(by_name))


@pytest.mark.parametrize("names", list(itertools.product(ANSWERS, repeat=2)), ids="-".join)
@pytest.mark.parametrize("lmtp", [True, False], ids=["LMTP", "SMTP"])
def test_recipients_one_at_a_time(tmp_path: Path, names: tuple[str, str], *, lmtp: bool) -> None:
    """A refusal of one that was told 250 is the answer to the content, and another one never hears it."""

    async def test(site: Site) -> None:
        async with site.connected(lmtp=lmtp) as wire:
            await wire.say("MAIL FROM:<me@sender.example>")
            replies = [(await wire.say(f"RCPT TO:<{name}@example.org>"))[0] for name in names]
            assert replies[0].startswith("250 2.1.5")
            (data,) = await wire.say("DATA")
            assert data.startswith("354")
            final = [await wire.dot(MESSAGE)]
            if lmtp:
                final.append(await wire.reply())
                assert [reply[:3] for reply in final] == [ANSWERS[name][:3] for name in names]
            elif names[0] == "good":
                assert codes(replies[1:]) == [ANSWERS[names[1]]]
                assert final[0].startswith("250")
            else:
                assert codes(replies[1:]) == ["452 4.5.3"]
                assert "another route" not in replies[1]
                assert codes(final) == [ANSWERS[names[0]]]

    play(tmp_path, test, OnionMx(by_name))


def test_another_route_after_nothing_but_refusals(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        replies = await site.send("nobody@example.org", "good@b.example", "good@example.org", lmtp=False)
        assert codes(replies) == ["550 5.1.1", "250 2.1.5", "452 4.5.3", "250 2.0.0"]
        assert [(taken.onion, taken.recipients) for taken in site.mx.taken] == [(B, ("good@b.example",))]

    play(tmp_path, test, OnionMx(by_name), {"example.org": ((A, 25),), "b.example": ((B, 25),)})


async def named_one_by_one(site: Site, *recipients: str) -> list[str]:
    """The replies to each RCPT of a message, asked without pipelining, and to its content if one was accepted."""
    async with site.connected(lmtp=False) as wire:
        await wire.say("MAIL FROM:<me@sender.example>")
        replies = [(await wire.say(f"RCPT TO:<{one}>"))[0] for one in recipients]
        if any(reply.startswith("2") for reply in replies):
            await wire.say("DATA")
            replies.append(await wire.dot())
        return codes(replies)


TWO_ONIONS = {"example.org": ((A, 25),), "b.example": ((B, 25),)}


@pytest.mark.parametrize("other", ["good@example.org", "good@b.example"])
def test_a_recipient_that_is_deferred_does_not_keep_others_waiting(tmp_path: Path, other: str) -> None:
    """OpenSMTPD names the recipients of a message in the same order each time, and does not pipeline."""

    async def test(site: Site) -> None:
        first = await named_one_by_one(site, "grey@example.org", other)
        assert first == ["250 2.1.5", "452 4.5.3", "451 4.2.1"]
        for _ in range(2):
            again = await named_one_by_one(site, "grey@example.org", other)
            assert again == ["451 4.2.1", "250 2.1.5", "250 2.0.0"]
        assert await named_one_by_one(site, "grey@example.org") == ["451 4.2.1"]

    play(tmp_path, test, OnionMx(by_name), TWO_ONIONS)


def test_an_onion_mx_that_defers_messages_does_not_keep_those_of_another_waiting(tmp_path: Path) -> None:
    is_full = True

    def full(dialog: Dialog, verb: str, _line: str) -> str | None:
        return "452 4.3.1 full" if is_full and verb == "END" and dialog.onion == A else None

    async def test(site: Site) -> None:
        nonlocal is_full
        recipients = ("alice@example.org", "bob@b.example")
        for _ in range(2):
            assert await named_one_by_one(site, *recipients) == ["250 2.1.5", "452 4.5.3", "452 4.3.1"]
        assert await named_one_by_one(site, *recipients) == ["452 4.5.3", "250 2.1.5", "250 2.0.0"]
        assert await named_one_by_one(site, "alice@example.org") == ["250 2.1.5", "452 4.3.1"]
        is_full = False
        assert await named_one_by_one(site, "alice@example.org") == ["250 2.1.5", "250 2.0.0"]
        assert [taken.recipients for taken in site.mx.taken] == [(one,) for one in reversed(recipients)]

    play(tmp_path, test, OnionMx(full), TWO_ONIONS)


def test_two_onion_mxes_that_defer_messages_do_not_keep_a_third_waiting(tmp_path: Path) -> None:
    def full(dialog: Dialog, verb: str, _line: str) -> str | None:
        return "452 4.3.1 full" if verb == "END" and dialog.onion != C else None

    async def test(site: Site) -> None:
        recipients = ("alice@example.org", "bob@b.example", "carol@c.example")
        finals = [(await named_one_by_one(site, *recipients))[-1] for _ in range(4)]
        assert finals == ["452 4.3.1"] * 3 + ["250 2.0.0"]
        assert [taken.recipients for taken in site.mx.taken] == [("carol@c.example",)]

    play(tmp_path, test, OnionMx(full), TWO_ONIONS | {"c.example": ((C, 25),)})


def test_an_onion_that_cannot_be_reached_does_not_keep_another_waiting(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        recipients = ("alice@example.org", "bob@b.example")
        assert await named_one_by_one(site, *recipients) == ["250 2.1.5", "452 4.5.3", "451 4.4.1"]
        assert await named_one_by_one(site, *recipients) == ["451 4.4.1", "250 2.1.5", "250 2.0.0"]

    play(tmp_path, test, OnionMx(socks={A: 4}), TWO_ONIONS)
