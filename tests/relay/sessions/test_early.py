"""Messages that leave before the onion MX has said a word, and what becomes of them when it says something else."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from onionmx.relay.service import RelayCore
from onionmx.relay.sessions.member import Destination
from onionmx.smtp.client.states import Early
from tests.mapfile.maps import A, B
from tests.relay.onion_mx import EXTENSIONS, Dialog, OnionMx
from tests.relay.relay import configured
from tests.relay.served import ENTRIES, MESSAGE, Site, codes, play

EXIM = (*EXTENSIONS, "PIPECONNECT")
GREETING = "220 mx.example ESMTP"
EHLO = "\r\n".join(["250-mx.example", *(f"250-{one}" for one in EXIM[:-1]), f"250 {EXIM[-1]}"])
TAKEN = ("250 2.1.0 ok", "250 2.1.5 ok", "250 2.0.0 queued")
LAST = MESSAGE[-16:]


@dataclass(frozen=True)
class Plan:
    """What one connection does instead of what an onion MX does.

    Attributes:
        says: behind the SOCKS reply; then the connection ends.
        socks: the reply of the SOCKS port; `None` ends the connection instead.
        waits: at which reply the whole message is waited for: 0 for that of the SOCKS port; `None` for nothing.
        stays: the connection does not end.
    """

    says: Sequence[str] = ()
    socks: int | None = 0
    waits: int | None = 0
    stays: bool = False


@dataclass
class EarlyMx(OnionMx):
    """An onion MX whose first connection is an ordinary one, and the next ones as planned.

    Attributes:
        plans: for the connections from the second one on; ordinary ones follow.
        early: what came on the planned ones.
    """

    plans: list[Plan] = field(default_factory=list)
    early: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.dialogs or not self.plans:
            await super().serve(reader, writer)
            return
        plan = self.plans.pop(0)
        await self._request(reader, writer)
        came = b""
        replies: list[bytes | None] = [None if plan.socks is None else bytes([5, plan.socks, 0, 1]) + bytes(6)]
        replies += [f"{reply}\r\n".encode() for reply in plan.says]
        for number, reply in enumerate(replies):
            while number == plan.waits and not came.endswith(LAST):
                piece = await reader.read(65536)
                assert piece, came
                came += piece
            if reply is not None:
                writer.write(reply)
        self.early.append(came)
        if plan.stays:
            await self.over.wait()
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods + 1)
        await reader.readexactly(*await reader.readexactly(1))
        await reader.readexactly(*await reader.readexactly(1))
        writer.write(b"\x01\x00")  # as tor does where all came at once
        *_, length = await reader.readexactly(5)
        await reader.readexactly(length + 2)


@dataclass
class WatchingMx(EarlyMx):
    """One that sees whether something comes before its reply to EHLO.

    Attributes:
        ahead: what has come behind EHLO, on each ordinary connection.
    """

    ahead: list[bytes] = field(default_factory=list)

    async def _obey(
        self, dialog: Dialog, verb: str, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> str:
        if verb == "EHLO":
            await asyncio.sleep(0.2)  # for what must not come
            self.ahead.append(bytes(reader._buffer))  # type: ignore[attr-defined]  # noqa: SLF001
        return await super()._obey(dialog, verb, line, reader, writer)


async def learn(site: Site) -> None:
    """Have the onion MX remembered, and no session open."""
    assert (await site.send("user@example.org"))[-1].startswith("250")
    end_sessions(site)


def end_sessions(site: Site) -> None:
    for destination in list(site.delivering._pool._pools):  # noqa: SLF001 -- so that another one opens
        site.delivering._pool.drop_idle(destination)  # noqa: SLF001


def copies(mx: OnionMx) -> int:
    return len(mx.taken) - 1


def test_all_of_it_leaves_with_the_request_to_tor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def test(site: Site) -> None:
        await learn(site)
        assert codes(await site.send("user@example.org"))[-1] == "250 2.0.0"
        assert copies(site.mx) == 0, "the planned connection had it"

    mx = EarlyMx(extensions=EXIM, plans=[Plan((GREETING, EHLO, *TAKEN))])
    play(tmp_path, test, mx)
    lines = mx.early[0].split(b"\r\n")
    assert [line.split(b" ")[0] for line in lines[:4]] == [b"EHLO", b"MAIL", b"RCPT", b"BDAT"]
    assert "session=early" in caplog.text


def test_behind_the_greeting_of_one_that_did_not_announce_it(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        assert codes(await site.send("user@example.org"))[-1] == "250 2.0.0"
        assert copies(site.mx) == 0

    ehlo = EHLO.replace("250-SMTPUTF8\r\n250 PIPECONNECT", "250 SMTPUTF8")
    play(tmp_path, test, EarlyMx(plans=[Plan((GREETING, ehlo, *TAKEN), waits=2)]))


def test_further_messages_wait_until_the_session_has_come_about_and_share_it(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        replies = await asyncio.gather(*(site.send("user@example.org") for _ in range(5)))
        assert {codes(each)[-1] for each in replies} == {"250 2.0.0"}
        assert len(site.mx.dialogs) == 2
        assert copies(site.mx) == 5

    play(tmp_path, test, EarlyMx(extensions=EXIM), sessions_per_onion=1)


@pytest.mark.parametrize("extensions", [EXIM, EXTENSIONS])
@pytest.mark.parametrize(
    ("settings", "content"),
    [({"early_pipelining": False}, MESSAGE), ({"keep_limit": 100}, MESSAGE + b"x" * 200 + b"\r\n")],
    ids=["setting", "streamed"],
)
def test_never(tmp_path: Path, extensions: tuple[str, ...], settings: dict[str, Any], content: bytes) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        assert (await site.send("user@example.org", content=content))[-1].startswith("250")
        assert mx.ahead == [b"", b""]
        assert copies(mx) == 1

    mx = WatchingMx(extensions=extensions)
    play(tmp_path, test, mx, **settings)


NO_SIZE = EHLO.replace("250-SIZE 0\r\n", "")
REFUSALS = {
    "greeting 554": Plan(("554 5.7.1 go away", "503 5.5.1 no", "503 5.5.1 no")),
    "greeting 421": Plan(("421 4.3.2 busy",)),
    "out of sync": Plan((GREETING, "554 5.5.0 Error: SMTP protocol synchronization")),
    "EHLO 421": Plan((GREETING, "421 4.3.2 closing")),
    "no CHUNKING": Plan((GREETING, "250-mx.example\r\n250 PIPELINING", "250 ok", "250 ok", "502 5.5.1 what?")),
    "no SIZE": Plan((GREETING, NO_SIZE, "555 5.5.4 no", "503 5.5.1 no", "503 5.5.1 no")),
    "no SIZE, and the end": Plan((GREETING, NO_SIZE, "555 5.5.4 no")),
    "EHLO and MAIL refused, and the end": Plan((GREETING, "550 5.7.1 no", "503 5.5.1 EHLO")),
    "no greeting": Plan((GREETING, "550 5.7.1 who are you", "503 5.5.1 EHLO", "503 5.5.1 no", "503 5.5.1 no")),
}


@pytest.mark.parametrize("plan", REFUSALS.values(), ids=REFUSALS)
def test_what_was_refused_for_being_early_goes_the_ordinary_way(tmp_path: Path, plan: Plan) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        assert codes(await site.send("user@example.org"))[-1] == "250 2.0.0"
        assert copies(site.mx) == 1
        end_sessions(site)
        assert codes(await site.send("user@example.org"))[-1] == "250 2.0.0"
        assert copies(site.mx) == 2

    play(tmp_path, test, EarlyMx(extensions=EXIM, plans=[plan]))


@pytest.mark.parametrize(
    ("extensions", "refusal"),
    [
        (EXTENSIONS, Plan((GREETING, "554 5.5.0 Error: SMTP protocol synchronization"), waits=2)),
        (EXIM, Plan(("554 SMTP synchronization error",))),
    ],
    ids=["as Postfix since 3.9", "although it announces it"],
)
def test_one_that_takes_nothing_early_is_not_tried_again(
    tmp_path: Path, extensions: tuple[str, ...], refusal: Plan
) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        for _ in range(3):
            assert codes(await site.send("user@example.org"))[-1] == "250 2.0.0"
            end_sessions(site)
        assert len(mx.early) == 1
        assert mx.ahead == [b""] * 4
        assert copies(mx) == 3

    mx = WatchingMx(extensions=extensions, plans=[refusal])
    play(tmp_path, test, mx)


def test_one_that_is_busy_has_refused_nothing_early(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        assert codes(await site.send("user@example.org"))[-1] == "451 4.4.2"
        assert site.delivering._habits.early((A, 25)) is Early.AFTER_GREETING  # noqa: SLF001

    play(tmp_path, test, EarlyMx(plans=[Plan(("421 4.3.2 busy",), waits=None)]))


def test_refusals_on_a_session_that_nothing_was_sent_to_early_are_refusals(tmp_path: Path) -> None:
    """The extensions have changed, and the session was made ready before there was a message."""

    def unknown(_dialog: Dialog, verb: str, _line: str) -> str | None:
        return "550 5.1.1 no such user" if verb == "RCPT" and site_has_changed else None

    site_has_changed = False

    async def test(site: Site) -> None:
        nonlocal site_has_changed
        await learn(site)
        site.mx.extensions = tuple(one for one in EXIM if one != "SIZE 0")
        site_has_changed = True
        site.delivering._pool.prepare(Destination((A, 25)))  # noqa: SLF001
        while len(site.mx.commands) < 6:  # noqa: ASYNC110 -- QUIT of the first, EHLO of the next
            await asyncio.sleep(0.01)
        for content in (MESSAGE, MESSAGE + b"x" * 200 + b"\r\n"):  # the second one streams
            assert codes(await site.send("user@example.org", content=content))[-1] == "550 5.1.1"
        assert copies(site.mx) == 0

    play(tmp_path, test, EarlyMx(unknown, extensions=EXIM), keep_limit=150)


@pytest.mark.parametrize(
    "ehlo", ["501 5.5.4 a strange name", "250-mx.example\r\n250 PIPELINING"], ids=["EHLO refused", "no CHUNKING"]
)
def test_one_that_takes_it_all_the_same_gets_no_copy(tmp_path: Path, ehlo: str) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        assert codes(await site.send("user@example.org"))[-1] == "250 2.0.0"
        assert copies(site.mx) == 0

    plan = Plan((GREETING, ehlo, *TAKEN))
    play(tmp_path, test, EarlyMx(extensions=EXIM, plans=[plan]))


NOTHING_CAME = (0x05, 0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7)


@pytest.mark.parametrize("code", NOTHING_CAME)
def test_what_tor_has_not_sent_goes_to_the_next_target(tmp_path: Path, code: int) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        assert codes(await site.send("user@two.example"))[-1] == "250 2.0.0"
        assert [taken.onion for taken in site.mx.taken] == [A, B]

    play(tmp_path, test, EarlyMx(extensions=EXIM, plans=[Plan(socks=code)]))


UNKNOWN = {
    "general failure": Plan(socks=0x01),
    "host unreachable": Plan(socks=0x04),
    "TTL expired": Plan(socks=0x06),
    "tor ends": Plan(socks=None),
    "after the greeting": Plan((GREETING,)),
    "after EHLO": Plan((GREETING, EHLO)),
    "before the final reply": Plan((GREETING, EHLO, *TAKEN[:-1])),
}


@pytest.mark.parametrize("plan", UNKNOWN.values(), ids=UNKNOWN)
def test_what_may_have_been_accepted_goes_nowhere_else(tmp_path: Path, plan: Plan) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        assert (await site.send("user@two.example"))[-1].startswith("451")
        assert [taken.onion for taken in site.mx.taken] == [A]

    play(tmp_path, test, EarlyMx(extensions=EXIM, plans=[plan]))


def test_silence_of_tor_is_the_end_of_one_message(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        started = asyncio.create_task(site.send("user@two.example"))
        while not mx.early:  # noqa: ASYNC110 -- the peer tells nobody
            await asyncio.sleep(0.01)
        (pool,) = site.delivering._pool._pools.values()  # noqa: SLF001
        (member,) = pool._members  # noqa: SLF001
        member.session._driver._stream._give_up()  # type: ignore[attr-defined]  # noqa: SLF001 -- as after tor.connect_timeout
        assert "tor did not answer in time" in (await started)[-1]
        assert [taken.onion for taken in mx.taken] == [A]

    mx = EarlyMx(extensions=EXIM, plans=[Plan(socks=None, stays=True)])
    play(tmp_path, test, mx)


@pytest.mark.parametrize("keep_limit", [10_000, 150], ids=["whole", "in pieces"])
@pytest.mark.parametrize("lacked", [("8BITMIME", ""), ("SIZE 0", "SIZE 200")], ids=["8BITMIME", "SIZE"])
def test_only_what_is_announced_now_may_bounce_a_message(
    tmp_path: Path, keep_limit: int, lacked: tuple[str, str]
) -> None:
    """What the message needs is missing in what is remembered, and there again."""

    async def test(site: Site) -> None:
        await learn(site)
        site.mx.extensions = EXIM
        content = b"Subject: \xc3\xa9\r\n\r\n" + b"x" * 300 + b"\r\n"
        replies = await site.send("user@example.org", mail=" BODY=8BITMIME", content=content)
        assert codes(replies)[-1] == "250 2.0.0"
        assert copies(site.mx) == 1

    announced, instead = lacked
    extensions = tuple(filter(None, (instead if one == announced else one for one in EXIM)))
    play(tmp_path, test, EarlyMx(extensions=extensions), keep_limit=keep_limit)


def test_it_is_remembered_across_a_restart(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        site.delivering.keep_announced()
        await learn(site)

    play(tmp_path, test, EarlyMx(extensions=EXIM))
    assert ((tmp_path / "announced").stat().st_mode & 0o777) == 0o600

    async def restarted() -> None:
        relay = RelayCore(configured(tmp_path, 1, ENTRIES))
        relay.keep_announced()
        known = relay._habits.remembered((A, 25))  # noqa: SLF001
        assert known is not None
        assert known.pipe_connect
        await relay.close()

    asyncio.run(restarted())


@pytest.mark.parametrize("plan", [Plan(socks=0xF0), Plan(("421 4.3.2 busy",)), Plan((GREETING, "450 4.7.1 wait"))])
def test_nothing_remembered_bounces_a_message_when_no_session_comes_about(tmp_path: Path, plan: Plan) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        site.mx.extensions = EXIM
        content = b"Subject: \xc3\xa9\r\n\r\nx\r\n"
        assert codes(await site.send("user@two.example", mail=" BODY=8BITMIME", content=content))[-1] == "250 2.0.0"

    narrow = tuple(one for one in EXIM if one != "8BITMIME")
    play(tmp_path, test, EarlyMx(extensions=narrow, plans=[replace(plan, waits=None)]))


def test_refusal_of_one_recipient_by_one_that_was_misled_is_temporary(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        replies = await site.send("one@example.org", "two@example.org")
        assert codes(replies)[2:] == ["451 4.4.2", "250 2.0.0"]

    says = (GREETING, NO_SIZE, "250 2.1.0 ok", "555 5.5.4 no", "250 2.1.5 ok", "250 2.0.0 queued")
    play(tmp_path, test, EarlyMx(extensions=EXIM, plans=[Plan(says)]))


def test_dead_target_does_not_keep_a_message_from_the_next_one(tmp_path: Path) -> None:
    """After a failure that leaves it open whether anything came there, nothing is sent early."""

    async def test(site: Site) -> None:
        await learn(site)
        assert (await site.send("user@two.example"))[-1].startswith("451")
        site.mx.socks[A] = 0x06
        assert codes(await site.send("user@two.example"))[-1] == "250 2.0.0"
        assert [taken.onion for taken in site.mx.taken] == [A, B]

    play(tmp_path, test, EarlyMx(extensions=EXIM, plans=[Plan(socks=0x06)]))


def test_message_with_more_recipients_than_were_allowed_waits_for_what_is_allowed_now(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await learn(site)
        assert codes(await site.send("one@example.org", "two@example.org"))[2:] == ["250 2.0.0"] * 2
        assert len(site.mx.dialogs) == 2

    play(tmp_path, test, EarlyMx(extensions=(*EXIM, "LIMITS RCPTMAX=1")))


def test_last_message_of_a_session_is_not_taken_for_a_failed_opening(tmp_path: Path) -> None:
    """All of it comes in one packet, a 421 behind it."""

    async def test(site: Site) -> None:
        await learn(site)
        replies = await asyncio.gather(*(site.send("user@example.org") for _ in range(3)))
        assert [codes(each)[-1] for each in replies] == ["250 2.0.0"] * 3

    plan = Plan((GREETING, EHLO, *TAKEN, "421 4.3.2 enough"))
    play(tmp_path, test, EarlyMx(extensions=EXIM, plans=[plan]), sessions_per_onion=1)
