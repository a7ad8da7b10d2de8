"""Peers with habits of their own: found out once, without harm to a message, and remembered."""

from pathlib import Path

import pytest

from onionmx.relay.failures import is_of_target
from onionmx.relay.sessions.announced import LASTING
from onionmx.relay.sessions.habits import Habits
from onionmx.smtp.client.states import Early, TlsPolicy
from onionmx.smtp.extensions import Extensions
from onionmx.tor.socks import Cause, SocksError
from tests.mapfile.maps import A
from tests.relay.onion_mx import CLOSE, EXTENSIONS, SILENCE, Dialog, OnionMx
from tests.relay.relay import AMPLE
from tests.relay.served import Site, codes, play

COMMANDS = b"RSET\r\nMAIL FROM:<forged@evil.example>\r\nRCPT TO:<user@example.org>\r\nDATA\r\nSubject: forged\r\n\r\n"
OFFERED = (*EXTENSIONS, "STARTTLS")


def unknown(_dialog: Dialog, verb: str, line: str) -> str | None:
    return "550 5.1.1 no such user" if verb == "RCPT" and "<unknown" in line else None


@pytest.mark.parametrize("lmtp", [True, False], ids=["LMTP", "SMTP"])
def test_a_peer_that_does_not_swallow_a_refused_bdat(tmp_path: Path, *, lmtp: bool) -> None:
    """Its unknown addresses are told so, known ones get their mail, and no line of a message is obeyed."""

    async def test(site: Site) -> None:
        for name, code in (("unknown", "550"), ("unknown", "550"), ("known", "250"), ("unknown", "550"), ("x", "250")):
            replies = await site.send(f"{name}@example.org", lmtp=lmtp, content=COMMANDS)
            assert replies[-1].startswith(code), replies
        assert [taken.sender for taken in site.mx.taken] == ["me@sender.example"] * 2
        assert site.mx.taken[0].content.endswith(COMMANDS)
        assert not any("forged" in command for command in site.mx.commands)
        assert site.mx.chunks_asked == 1, "it was asked once"
        assert "BDAT" not in site.mx.verbs
        assert len(site.mx.dialogs) == 2

    play(tmp_path, test, OnionMx(unknown, swallows=False))


def test_a_peer_that_swallows_is_asked_once_and_then_all_leaves_in_one_flight(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        for name in ("unknown", "known", "unknown", "known"):
            await site.send(f"{name}@example.org")
        site.delivering._pool.drop_idle(next(iter(site.delivering._pool._pools)))  # noqa: SLF001 -- so that another one opens
        await site.send("known@example.org")
        assert site.mx.chunks_asked == 1
        assert len(site.mx.dialogs) == 2
        assert site.mx.verbs.count("BDAT") == 5

    play(tmp_path, test, OnionMx(unknown))


@pytest.mark.parametrize("reply", ["250 2.0.0 what a nice chunk", "530 5.7.0 STARTTLS first", "421 4.7.0 go", CLOSE])
def test_another_answer_to_the_question_means_data(tmp_path: Path, reply: str) -> None:
    async def test(site: Site) -> None:
        for _ in range(2):
            assert (await site.send("user@example.org"))[-1].startswith("250")
        assert site.mx.chunks_asked == 1
        assert site.mx.verbs.count("DATA") == 2

    play(tmp_path, test, OnionMx(to_question=reply))


@pytest.mark.parametrize("surplus", ["250 2.0.0 Ok", "what was that?"])
def test_a_reply_too_many_behind_a_success(tmp_path: Path, surplus: str) -> None:
    """The message was taken and is told so, and the next one goes where nothing can come apart."""

    def answer(_dialog: Dialog, verb: str, line: str) -> str | None:
        return f"250 2.0.0 153 bytes received\r\n{surplus}" if verb == "END" and line != "DATA" else None

    async def test(site: Site) -> None:
        for number in range(3):
            assert (await site.send("user@example.org"))[-1].startswith("250")
            assert len(site.mx.taken) == number + 1
        assert site.mx.verbs.count("DATA") == 2

    play(tmp_path, test, OnionMx(answer))


def test_refused_rset(tmp_path: Path) -> None:
    def answer(dialog: Dialog, verb: str, _line: str) -> str | None:
        return (
            "503 5.5.1 what for?"
            if verb == "RSET" and not dialog.was_asked and dialog.commands[-1:] == ["RSET"]
            else None
        )

    async def test(site: Site) -> None:
        async with site.connected() as one, site.connected() as other:
            for wire in (one, other):
                wire.send("MAIL FROM:<me@sender.example>\r\nRCPT TO:<user@example.org>\r\nBDAT 4 LAST\r\nhi\r\n")
            for wire in (one, other):
                assert [(await wire.reply())[:3] for _ in range(3)] == ["250"] * 3
        assert len(site.mx.taken) == 2

    play(tmp_path, test, OnionMx(answer), sessions_per_onion=1)


@pytest.mark.parametrize("size", [600, 3000, 1_000_000])
@pytest.mark.parametrize(("verb", "code"), [("END", "250"), ("RCPT", "550"), ("END", "554"), ("greeting", "220")])
def test_long_reply_lines(tmp_path: Path, verb: str, code: str, size: int) -> None:
    def answer(_dialog: Dialog, said: str, _line: str) -> str | None:
        return f"{code} {'x' * size}" if said == verb else None

    async def test(site: Site) -> None:
        async with site.connected() as wire:
            *_, _data = await wire.say("MAIL FROM:<me@sender.example>", "RCPT TO:<user@example.org>", "DATA")
            reply = await wire.dot()
        assert reply.startswith("250" if code == "220" else code)
        assert all(len(line) < 510 for line in reply.splitlines())

    play(tmp_path, test, OnionMx(answer))


def test_the_words_of_a_greeting_with_two_codes(tmp_path: Path) -> None:
    def answer(_dialog: Dialog, verb: str, _line: str) -> str | None:
        return "220-mx.example\r\n521 5.7.1 blocked using list.example" if verb == "greeting" else None

    async def test(site: Site) -> None:
        reply = (await site.send("user@example.org"))[-1]
        assert codes([reply]) == ["451 4.4.2"]
        assert "521 5.7.1 blocked using list.example" in reply

    play(tmp_path, test, OnionMx(answer))


@pytest.mark.parametrize("code", ["500", "501", "502", "503", "504", "550", "554"])
def test_helo_where_ehlo_is_refused(tmp_path: Path, code: str) -> None:
    def answer(_dialog: Dialog, verb: str, _line: str) -> str | None:
        return f"{code} 5.5.1 no" if verb == "EHLO" else None

    async def test(site: Site) -> None:
        assert (await site.send("user@example.org"))[-1].startswith("250")
        assert site.mx.verbs[:2] == ["EHLO", "HELO"]

    play(tmp_path, test, OnionMx(answer))


@pytest.mark.parametrize("starttls", ["220 2.0.0 go", "220 go\r\nno handshake", CLOSE, "421 4.7.0 no", SILENCE])
def test_opportunistic_tls_that_fails(tmp_path: Path, starttls: str) -> None:
    """The message goes in the clear over tor, at once, and the next sessions do not try again."""

    def answer(_dialog: Dialog, verb: str, _line: str) -> str | None:
        return starttls if verb == "STARTTLS" else None

    async def test(site: Site) -> None:
        for _ in range(2):
            assert (await site.send("user@example.org"))[-1].startswith("250")
        assert site.mx.verbs.count("STARTTLS") == 1

    play(tmp_path, test, OnionMx(answer, OFFERED), tls="opportunistic", deadline=12.0 if starttls == SILENCE else AMPLE)


def test_required_tls_that_fails(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        for _ in range(2):
            assert (await site.send("user@example.org"))[-1].startswith("451")
        assert site.mx.verbs.count("STARTTLS") == 2
        assert "MAIL" not in site.mx.verbs

    play(tmp_path, test, OnionMx(extensions=OFFERED), tls="require")


def test_what_a_peer_announced_is_forgotten_after_a_time() -> None:
    """Another program may answer there by then, or another host of the same onion."""
    clock = [0.0]
    habits = Habits(TlsPolicy.NEVER, now=lambda: clock[0])
    onion_mx = (A, 25)
    able = Extensions(pipelining=True, chunking=True, starttls=True)
    assert habits.remembered(onion_mx) is None
    for clock[0] in (0.0, LASTING / 2):
        habits.opened(onion_mx, able)
        assert habits.remembered(onion_mx) == able.without_starttls()
    clock[0] += LASTING
    assert habits.remembered(onion_mx) is None
    assert habits.early(onion_mx) is Early.NOTHING


@pytest.mark.parametrize("cause", [Cause.NOT_ALLOWED, Cause.NETWORK_UNREACHABLE, Cause.WRONG_SERVICE])
def test_a_fault_of_this_hosts_tor_says_nothing_of_the_onion_mx(cause: Cause) -> None:
    assert not is_of_target(SocksError((A, 25), cause))
    assert is_of_target(SocksError((A, 25), Cause.DESCRIPTOR_NOT_FOUND))
