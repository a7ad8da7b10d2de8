"""`relay.scrub` on real sockets: kept and streamed messages, in chunks and after DATA, by LMTP and SMTP."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from onionmx.relay.scrub import MOST_HEADER
from tests.relay.onion_mx import OnionMx
from tests.relay.relay import SMTP, Relay
from tests.relay.relay import play as play_core
from tests.relay.served import Site, play

SCRUB = ("Received", "X-Originating-IP", "User-Agent")
KEPT = b"From: a@sender.example\r\nSubject: x\r\n"
REMOVED = b"Received: from laptop.lan\r\n\tby mx.sender.test\r\nx-originating-ip: [192.168.1.7]\r\nUser-Agent: \xff\r\n"
BODY = b"\r\n.dot\r\nUser-Agent: of the body\r\n..two\r\n"
LARGE = BODY + (b"y" * 70 + b"\r\n") * 3000
OURS = b"Received: by mx.sender.test (onionmx) with "


def less_ours(content: bytes) -> bytes:
    """What the onion MX got, without the field that the relay adds."""
    assert content.startswith(OURS)
    return content.split(b"\r\n", 2)[2]


@pytest.mark.parametrize("extensions", [("PIPELINING", "CHUNKING", "SIZE 0"), ("PIPELINING", "SIZE 0"), ()], ids=str)
@pytest.mark.parametrize("body", [BODY, LARGE], ids=["kept", "streamed"])
@pytest.mark.parametrize("is_sized", [True, False], ids=["SIZE", "no SIZE"])
@pytest.mark.parametrize(("lmtp", "count"), [(True, 1), (False, 1), (False, 2)], ids=["LMTP", "SMTP", "SMTP, two"])
def test_named_fields_do_not_leave(  # noqa: PLR0913 -- all combinations
    tmp_path: Path, extensions: Sequence[str], body: bytes, count: int, *, is_sized: bool, lmtp: bool
) -> None:
    content = REMOVED + KEPT + body

    async def test(site: Site) -> None:
        mail = f" SIZE={len(content)}" if is_sized else ""
        names = [f"user{number}@example.org" for number in range(count)]
        replies = await site.send(*names, lmtp=lmtp, mail=mail, content=content)
        assert [reply[:3] for reply in replies] == ["250"] * len(replies)
        [taken] = site.mx.taken
        assert less_ours(taken.content) == KEPT + body
        told = [line for dialog in site.mx.dialogs for line in dialog.commands if "SIZE=" in line]
        if count == 1 and (is_sized or body is BODY) and "SIZE 0" in extensions:
            assert told[0].partition("SIZE=")[2].split()[0] == str(len(taken.content))

    play(tmp_path, test, OnionMx(extensions=tuple(extensions)), keep_limit=2000, scrub=SCRUB)


def test_without_the_setting_everything_leaves(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.send("user@example.org", content=REMOVED + KEPT + BODY)
        assert less_ours(site.mx.taken[0].content) == REMOVED + KEPT + BODY

    play(tmp_path, test)


@pytest.mark.parametrize("keep_limit", [0, 40, 1_000_000])
@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
def test_header_in_any_pieces(tmp_path: Path, size: int, keep_limit: int) -> None:
    content = REMOVED + KEPT + BODY

    async def chunks() -> Any:  # noqa: ANN401 -- an asynchronous generator
        for start in range(0, len(content), size):
            yield content[start : start + size]

    async def test(relay: Relay) -> None:
        replies = await relay.send("user@example.org", client=SMTP, content=chunks())
        assert replies[-1].code == 250
        assert [less_ours(message) for message in relay.peer.messages] == [KEPT + BODY]

    play_core(tmp_path, test, keep_limit=keep_limit, scrub=SCRUB)


def test_header_larger_than_is_looked_at_goes_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = REMOVED + KEPT + (b"X-Long: " + b"y" * 900 + b"\r\n") * (MOST_HEADER // 900) + BODY

    async def test(site: Site) -> None:
        assert (await site.send("user@example.org", content=content))[-1].startswith("250")
        assert less_ours(site.mx.taken[0].content) == content

    play(tmp_path, test, keep_limit=2000, scrub=SCRUB)
    assert f"no header field was removed: its header has more than {MOST_HEADER} bytes" in caplog.text


def test_why_nothing_was_removed_is_in_the_log_without_the_header(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = REMOVED + b"secret line\r\n" + KEPT + BODY

    async def test(site: Site) -> None:
        assert (await site.send("user@example.org", content=content))[-1].startswith("250")
        assert less_ours(site.mx.taken[0].content) == content

    play(tmp_path, test, scrub=SCRUB)
    assert ": no header field was removed: line 5 of the header begins no field" in caplog.text
    assert "secret" not in caplog.text


def test_loop_is_counted_before_anything_is_removed(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        looping = b"Received: from laptop.lan\r\n" * 5 + KEPT + BODY
        assert (await site.send("user@example.org", content=looping))[-1].startswith("554 5.4.6")
        assert not site.mx.taken

    play(tmp_path, test, scrub=SCRUB, max_received=5)


def test_loop_ends_although_other_fields_are_removed(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        content = KEPT + BODY
        for _ in range(20):
            [reply] = (await site.send("user@example.org", content=REMOVED + content))[1:]
            if reply.startswith("554 5.4.6"):
                break
            content = site.mx.taken[-1].content
        assert len(site.mx.taken) == 9  # one field of ours for each turn, and one of REMOVED

    play(tmp_path, test, scrub=SCRUB, max_received=10)
