"""The relay behind its server: from a transaction to the onion MX."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from onionmx.relay.delivery import _Pieces
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.faults import MisuseError
from onionmx.smtp.reply import Reply
from onionmx.smtp.server import ContentBrokenError
from tests.mapfile.maps import A, B
from tests.onions import IMPOSSIBLE_ONIONS
from tests.relay.peer import Peer
from tests.relay.relay import LMTP, MESSAGE, SMTP, Relay, codes, pieces, play


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

    play(tmp_path, test, sessions_per_onion=3, transactions_in_flight=5, messages_per_session=100)


def test_routes(tmp_path: Path) -> None:
    (tmp_path / "pins").write_text("never.example none\n")

    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@elsewhere.example")) == ["451 4.4.4"]
        assert codes(await relay.send("user@never.example")) == ["451 4.4.4"]
        assert codes(await relay.send("user@[192.0.2.1]")) == ["451 4.4.4"]
        assert codes(await relay.send("postmaster")) == ["451 4.4.4"]
        assert codes(await relay.send("user@\u2603.example")) == ["451 4.4.3"]
        (tmp_path / "map.cdb").write_bytes(b"damaged")
        assert codes(await relay.send("user@example.org")) == ["451 4.4.3"]
        assert relay.peer.targets == []

    play(tmp_path, test)


def test_names_under_onion(tmp_path: Path) -> None:
    (tmp_path / "pins").write_text(f"pinned.onion {B}\n")

    async def test(relay: Relay) -> None:
        for domain in (A, f"a.b.{A}", f"{A.upper()}.", "pinned.onion"):
            assert codes(await relay.send(f"user@{domain}")) == ["250 2.1.5", "250 2.0.0"]
        assert relay.peer.targets == [(A, 25), (B, 25)], "one session for an onion, whatever comes before its name"
        for domain in IMPOSSIBLE_ONIONS.values():
            (reply,) = await relay.send(f"user@{domain}")
            assert codes([reply]) == ["550 5.1.2"]
            assert domain.rpartition(".")[0].rpartition(".")[2] in reply.text, "it says which name is meant"

    play(tmp_path, test)


def test_unrouted_may_be_rejected(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@elsewhere.example")) == ["550 5.4.4"]

    play(tmp_path, test, unrouted="reject")


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
        return codes(await transaction.content(pieces(b"Subject: x\r\n\r\n\xfc\r\n" + b"x" * 2000)))

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
        assert codes(replies) == ["250 2.1.5", "452 4.5.3", "250 2.0.0", "250 2.0.0"]
        assert replies[2].text == "onion-mx said: ok"
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
        await transaction.content(pieces(MESSAGE))
        mail, rcpt = relay.peer.commands[1:3]
        assert mail.endswith(" RET=HDRS ENVID=QQ314159")
        assert rcpt == "RCPT TO:<user@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;user@example.org"

    play(tmp_path, test)


def test_message_that_streams_is_never_read_twice() -> None:
    """It would be empty the second time."""

    async def whole() -> None:
        streaming = _Pieces(pieces(b"Subject: once\r\n"))
        assert [piece async for piece in streaming] == [b"Subject: once\r\n"]
        with pytest.raises(MisuseError):
            [piece async for piece in streaming]

    asyncio.run(whole())
