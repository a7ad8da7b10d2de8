"""The relay behind its server: from a transaction to the onion MX, with faults at every step."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onionmx.config import Configuration, MapSection, RelaySection, SyncSection, TorSection
from onionmx.onion import Endpoint
from onionmx.relay.server import Client, ContentBrokenError
from onionmx.relay.service import Delivering
from onionmx.reply import Reply
from onionmx.smtp.envelope import Envelope, Recipient
from tests.mapfile.maps import A, B, make_map
from tests.relay.peer import Fault, Peer, hang, reset, running, saying

LMTP = Client(1, is_lmtp=True, protocol="LMTP")
SMTP = Client(1, is_lmtp=False, protocol="ESMTP")
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


class Relay:
    """A relay whose SOCKS port and onion MXes are a scripted peer."""

    def __init__(self, delivering: Delivering, peer: Peer) -> None:
        self.delivering = delivering
        self.peer = peer

    async def send(
        self, *recipients: str, client: Client = LMTP, content: bytes | AsyncIterator[bytes] = MESSAGE
    ) -> Sequence[Reply]:
        """The replies to RCPT, and behind them those to the content if a recipient was accepted."""
        transaction = self.delivering.begin(Envelope("me@sender.test"), client)
        replies = [await transaction.recipient(Recipient(one), more_follow=False) for one in recipients]
        if any(reply.is_positive for reply in replies):
            pieces = _pieces(content) if isinstance(content, bytes) else content
            return [*replies, *await transaction.content(pieces)]
        await transaction.abandon()
        return replies


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 65536):
        yield content[start : start + 65536]


def play(
    tmp_path: Path,
    test: Callable[[Relay], Awaitable[Any]],
    peer: Peer | None = None,
    entries: Mapping[str, tuple[Endpoint, ...]] | None = None,
    **settings: Any,  # noqa: ANN401 -- fields of the section
) -> Any:  # noqa: ANN401
    """Run a test with a relay that has a map of these entries."""
    peer = peer or Peer()
    arguments: dict[str, Any] = {"hostname": "mx.sender.test", "deadline": 10.0} | settings
    make_map(tmp_path / "map.cdb", entries or {"example.org": ((A, 25),), "two.example": ((A, 25), (B, 2525))})

    async def run() -> Any:  # noqa: ANN401
        async with running(peer):
            configuration = Configuration(
                map=MapSection(path=str(tmp_path / "map.cdb")),
                sync=SyncSection(pins=str(tmp_path / "pins")),
                tor=TorSection(socks=f"127.0.0.1:{peer.port}"),
                relay=RelaySection(**arguments),
            )
            delivering = Delivering(configuration)
            try:
                return await asyncio.wait_for(test(Relay(delivering, peer)), 60)
            finally:
                await delivering.close()

    return asyncio.run(run())


def codes(replies: Sequence[Reply]) -> list[str]:
    return [f"{reply.code} {reply.enhanced}" for reply in replies]


def test_one_flight_to_the_onion_by_name(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@Example.ORG")) == ["250 2.1.5", "250 2.0.0"]
        peer = relay.peer
        assert peer.targets == [(A, 25)]
        (content,) = peer.messages
        assert content.endswith(MESSAGE)
        assert content.startswith(b"Received: by mx.sender.test (onionmx) with LMTP id ")
        verbs = [command.split(" ")[0] for command in peer.commands]
        assert verbs == ["EHLO", "MAIL", "RCPT", "BDAT"]
        assert peer.commands[0] == "EHLO mx.sender.test"

    play(tmp_path, test)


def test_sessions_are_kept_and_isolated_by_onion(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        for _ in range(3):
            await relay.send("user@example.org")
        await relay.send("user@b.example")
        assert relay.peer.targets == [(A, 25), (B, 25)]
        assert [user for user, _ in relay.peer.users] == [A.encode(), B.encode()]
        assert len({password for _, password in relay.peer.users}) == 2

    play(tmp_path, test, entries={"example.org": ((A, 25),), "b.example": ((B, 25),)})


def test_session_ends_after_its_messages(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        for _ in range(5):
            await relay.send("user@example.org")
        assert len(relay.peer.targets) == 3

    play(tmp_path, test, messages_per_session=2)


def test_many_messages_share_sessions_up_to_the_limits(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        results = await asyncio.gather(*(relay.send("user@example.org") for _ in range(100)))
        assert {tuple(codes(replies)) for replies in results} == {("250 2.1.5", "250 2.0.0")}
        assert len(relay.peer.targets) <= 3
        assert len(relay.peer.messages) == 100

    play(tmp_path, test, sessions_per_onion=3, transactions_in_flight=5)


def test_routes(tmp_path: Path) -> None:
    (tmp_path / "pins").write_text("never.example none\n")

    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@elsewhere.example")) == ["451 4.4.4"]
        assert codes(await relay.send("user@never.example")) == ["451 4.4.4"]
        assert codes(await relay.send("user@[192.0.2.1]")) == ["451 4.4.4"]
        assert codes(await relay.send("postmaster")) == ["451 4.4.4"]
        (tmp_path / "map.cdb").write_bytes(b"damaged")
        assert codes(await relay.send("user@example.org")) == ["451 4.4.3"]
        assert relay.peer.targets == []

    play(tmp_path, test)


def test_unrouted_may_be_rejected(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@elsewhere.example")) == ["550 5.4.4"]

    play(tmp_path, test, unrouted="reject")


SOCKS_REPLIES = {
    **dict.fromkeys((0xF0, 0xF1, 0xF2, 0xF3, 0xF7, 1, 4, 5, 6), "451 4.4.1"),
    **dict.fromkeys((0xF4, 0xF5), "451 4.7.0"),
    0xF6: "550 5.4.4",
}


@pytest.mark.parametrize("number", SOCKS_REPLIES)
def test_causes_of_tor_in_words(tmp_path: Path, number: int) -> None:
    async def test(relay: Relay) -> None:
        _, reply = await relay.send("user@example.org")
        assert codes([reply]) == [SOCKS_REPLIES[number]]
        assert A in reply.text
        if number >= 0xF0:
            assert f"({number:X})" in reply.text

    play(tmp_path, test, Peer(socks=number))


def test_socks_port_that_is_closed(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        relay.delivering._connector._proxy = ("127.0.0.1", 1)  # noqa: SLF001 -- a port where nothing listens
        _, reply = await relay.send("user@example.org")
        assert codes([reply]) == ["451 4.4.1"]
        assert "is tor running?" in reply.text

    play(tmp_path, test)


def test_failure_renews_the_isolation(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        relay.peer.socks = 0xF2
        await relay.send("user@example.org")
        relay.peer.socks = 0
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        assert len({password for _, password in relay.peer.users}) == 2

    play(tmp_path, test)


def test_failing_target_is_left_alone(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        for _ in range(5):
            assert codes(await relay.send("user@example.org"))[1] == "451 4.4.1"
        assert len(relay.peer.targets) == 2
        _, reply = await relay.send("user@example.org")
        assert "failed 2 times in a row, next try in" in reply.text

    play(tmp_path, test, Peer(socks=0xF0))


STEPS = ["greeting", "EHLO", "MAIL", "RCPT", "BDAT"]
FAULTS: dict[str, Fault] = {
    "reset": reset,
    "hang": hang,
    "421": saying("421 4.3.2 closing\r\n"),
    "garbage": saying("\x00\x01garbage\r\n"),
    "no number": saying("hello there\r\n"),
    "long line": saying("250 " + "x" * 1_000_000 + "\r\n"),
    "endless reply": saying("250-x\r\n" * 100_000),
    "two codes": saying("250-a\r\n550 b\r\n"),
    "too many": saying("250 a\r\n250 b\r\n550 c\r\n250 d\r\n250 e\r\n"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_at_every_step(tmp_path: Path, step: str, fault: str) -> None:
    """Temporary for the MTA, nothing lost, no hang past the deadline, and the session is not used again."""

    async def test(relay: Relay) -> None:
        start = asyncio.get_running_loop().time()
        _, reply = await relay.send("user@example.org")
        assert asyncio.get_running_loop().time() - start < 5
        assert reply.is_transient
        assert reply.code != 421, "the relay itself does not close"
        relay.peer.faults.clear()
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        assert len(relay.peer.targets) == 2

    play(tmp_path, test, Peer(faults={step: FAULTS[fault]}), deadline=1.5)


@pytest.mark.parametrize("fault", ["reset", "garbage", "421"])
@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT"])
def test_next_target_is_tried(tmp_path: Path, step: str, fault: str) -> None:
    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@two.example")) == ["250 2.1.5", "250 2.0.0"]
        assert relay.peer.targets == [(A, 25), (B, 2525)]
        assert len(relay.peer.messages) == 1

    # In one flight everything has left when MAIL is answered: only a peer without CHUNKING leaves that open.
    plain = {"EHLO": "250-mx.example\r\n250 PIPELINING\r\n", "DATA": "451 4.3.0 not today\r\n"}
    peer = Peer(faults={step: FAULTS[fault]}, once=True)
    if step in {"MAIL", "RCPT"}:
        peer.replies = dict(plain)

        async def test_plain(relay: Relay) -> None:
            _, reply = await relay.send("user@two.example")
            assert reply.is_transient
            assert relay.peer.targets == [(A, 25), (B, 2525)]

        play(tmp_path, test_plain, peer)
        return
    play(tmp_path, test, peer)


def test_lost_final_reply_goes_to_the_mta_and_not_to_the_next_target(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        _, reply = await relay.send("user@two.example")
        assert codes([reply]) == ["451 4.4.2"]
        assert relay.peer.targets == [(A, 25)]

    play(tmp_path, test, Peer(faults={"BDAT": reset}, once=True))


def test_session_that_was_closed_while_idle_loses_nothing(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        relay.peer.faults = {"MAIL": reset}
        relay.peer.once = True
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        assert len(relay.peer.targets) == 2
        assert len(relay.peer.messages) == 2

    play(tmp_path, test)


def test_all_sessions_that_were_closed_while_idle(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        await asyncio.gather(*(relay.send("user@example.org") for _ in range(3)))
        relay.peer.faults = {"MAIL": reset}
        relay.peer.once = True
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        assert len(relay.peer.targets) == 4
        assert len(relay.peer.messages) == 4

    play(tmp_path, test)


def test_refusals_pass_through(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        _, reply = await relay.send("user@two.example")
        assert reply == Reply(550, "5.1.1", ("onion-mx said: no such user",))
        assert relay.peer.targets == [(A, 25)], "a permanent refusal is final"

    play(tmp_path, test, Peer(replies={"RCPT": "550 5.1.1 no such user\r\n", "BDAT": "503 5.5.1 no recipients\r\n"}))


def test_transient_refusal_tries_the_next_target(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        _, reply = await relay.send("user@two.example")
        assert codes([reply]) == ["451 4.2.0"]
        assert relay.peer.targets == [(A, 25), (B, 2525)]

    play(
        tmp_path,
        test,
        Peer(replies={"MAIL": "451 4.2.0 later\r\n", "RCPT": "503 5.5.1 x\r\n", "BDAT": "503 5.5.1 x\r\n"}),
    )


def test_peer_that_lacks_what_the_message_needs(tmp_path: Path) -> None:
    async def test(relay: Relay) -> list[str]:
        transaction = relay.delivering.begin(Envelope("me@sender.test", body="8BITMIME"), LMTP)
        await transaction.recipient(Recipient("user@example.org"), more_follow=False)
        return codes(await transaction.content(_pieces(b"Subject: x\r\n\r\n\xfc\r\n" + b"x" * 2000)))

    assert play(tmp_path, test, Peer(replies={"EHLO": "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"})) == ["554 5.6.3"]
    small = Peer(replies={"EHLO": "250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-8BITMIME\r\n250 SIZE 1000\r\n"})
    assert play(tmp_path, test, small) == ["552 5.3.4"]


def test_lmtp_delivers_each_route(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        replies = await relay.send("a@example.org", "b@b.example", "c@example.org")
        assert codes(replies)[3:] == ["250 2.0.0"] * 3
        assert sorted(relay.peer.targets) == sorted([(A, 25), (B, 25)])
        assert len(relay.peer.messages) == 2

    play(tmp_path, test, entries={"example.org": ((A, 25),), "b.example": ((B, 25),)})


def test_large_message_streams_to_the_first_route(tmp_path: Path) -> None:
    content = b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n"
    content += (b"y" * 70 + b"\r\n") * 5000

    async def test(relay: Relay) -> None:
        replies = await relay.send("a@example.org", "b@b.example", content=content)
        assert codes(replies)[2:] == ["250 2.0.0", "452 4.5.3"]
        assert relay.peer.targets == [(A, 25)]

    entries = {"example.org": ((A, 25),), "b.example": ((B, 25),)}
    play(tmp_path, test, entries=entries, keep_limit=1000)


def test_smtp_with_other_route_and_several_recipients(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        replies = await relay.send("a@example.org", "b@b.example", "c@example.org", client=SMTP)
        assert codes(replies) == ["250 2.1.5", "452 4.5.3", "250 2.1.5", "250 2.0.0"]
        assert [command for command in relay.peer.commands if command.startswith("RCPT")] == [
            "RCPT TO:<a@example.org>",
            "RCPT TO:<c@example.org>",
        ]

    play(tmp_path, test, entries={"example.org": ((A, 25),), "b.example": ((B, 25),)})


def test_smtp_recipient_refused_after_it_was_accepted(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        replies = await relay.send("a@example.org", "b@example.org", client=SMTP)
        assert codes(replies) == ["250 2.1.5", "452 4.5.3", "550 5.1.1"]
        assert relay.peer.messages == []

    play(tmp_path, test, Peer(replies={"RCPT": "550 5.1.1 no such user\r\n"}))


def test_loop_is_found(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        _, reply = await relay.send("user@example.org", content=b"Received: x\r\n" * 50 + MESSAGE)
        assert codes([reply]) == ["554 5.4.6"]
        assert relay.peer.targets == []

    play(tmp_path, test)


@pytest.mark.parametrize("keep_limit", [1_000_000, 10])
def test_broken_content_is_not_delivered(tmp_path: Path, keep_limit: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield MESSAGE
        raise ContentBrokenError("the client has gone")

    async def test(relay: Relay) -> None:
        with pytest.raises(ContentBrokenError):
            await relay.send("user@example.org", content=broken())
        assert relay.peer.messages == []
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"

    play(tmp_path, test, keep_limit=keep_limit)


def test_envelope_parameters_reach_the_onion_mx(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        envelope = replace(Envelope("me@sender.test"), ret="HDRS", envid="QQ314159")
        transaction = relay.delivering.begin(envelope, LMTP)
        recipient = Recipient("user@example.org", "SUCCESS,DELAY", "rfc822;user@example.org")
        await transaction.recipient(recipient, more_follow=False)
        await transaction.content(_pieces(MESSAGE))
        mail, rcpt = relay.peer.commands[1:3]
        assert mail.endswith(" RET=HDRS ENVID=QQ314159")
        assert rcpt == "RCPT TO:<user@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;user@example.org"

    play(tmp_path, test)
