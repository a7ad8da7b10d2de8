r"""Dialogs as text: `> ` a line from the client, `< ` a line from the server, `>> ` octets with Python's escapes.

A dialog begins behind the greeting and EHLO (or LHLO) unless it is told otherwise.
"""

from __future__ import annotations

import asyncio
from inspect import cleandoc
from typing import TYPE_CHECKING

from onionmx.smtp.server import ServerSettings
from tests.smtp.server.recorder import Recorder
from tests.smtp.server.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

EXTENSIONS = b"""\
250-onionmx.localhost\r
250-PIPELINING\r
250-CHUNKING\r
250-SIZE 104857600\r
250-8BITMIME\r
250-SMTPUTF8\r
250-DSN\r
250 ENHANCEDSTATUSCODES\r
"""

Step = tuple[bytes, bytes]
"""What the client sends, and what it must get for it."""


def read(text: str, *, is_lmtp: bool, is_greeted: bool) -> list[Step]:
    steps = [
        (b"", b"220 onionmx.localhost LMTP onionmx\r\n" if is_lmtp else b"220 onionmx.localhost ESMTP onionmx\r\n")
    ]
    if not is_greeted:
        steps.append((b"LHLO client.example\r\n" if is_lmtp else b"EHLO client.example\r\n", EXTENSIONS))
    sent = expected = b""
    for line in cleandoc(text).splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "<":
            expected += rest.encode() + b"\r\n"
            continue
        if expected:
            steps.append((sent, expected))
            sent = expected = b""
        sent += rest.encode() + b"\r\n" if mark == ">" else rest.encode().decode("unicode_escape").encode("latin-1")
    return [*steps, (sent, expected)]


async def in_turn(wire: Wire, steps: list[Step]) -> None:
    """As a client without PIPELINING: each step waits for its replies."""
    expected = b""
    for sent, replies in steps:
        wire.send(sent)
        expected += replies
        await wire.until(len(expected))
        assert bytes(wire.received).decode() == expected.decode()
    wire.end()


async def whole(wire: Wire, steps: list[Step]) -> None:
    """All in one packet, with the end of the input."""
    wire.send(b"".join(sent for sent, _ in steps))
    wire.end()


async def byte_by_byte(wire: Wire, steps: list[Step]) -> None:
    for sent, _ in steps:
        for octet in sent:
            wire.send(bytes([octet]))
            await asyncio.sleep(0)
    wire.end()


WAYS: list[Callable[..., object]] = [in_turn, whole, byte_by_byte]


def play(  # noqa: PLR0913 -- a test says what differs
    text: str,
    way: Callable[..., object] = whole,
    *,
    recorder: Recorder | None = None,
    settings: ServerSettings | None = None,
    is_lmtp: bool = False,
    is_greeted: bool = False,
) -> Recorder:
    """Hold a dialog, in one way, and check all that the server says."""
    recorder = recorder or Recorder()

    async def session() -> None:
        wire = Wire(recorder, settings or ServerSettings(), is_lmtp=is_lmtp)
        steps = read(text, is_lmtp=is_lmtp, is_greeted=is_greeted)
        await way(wire, steps)  # type: ignore[misc]
        await wire.finished()
        assert bytes(wire.received).decode() == b"".join(replies for _, replies in steps).decode()
        await wire.server.close(0)

    asyncio.run(session())
    assert all(end in {"content", "content broken", "abandon"} for end in recorder.ends)
    return recorder


def answers(text: str, *, recorder: Recorder | None = None, settings: ServerSettings | None = None) -> list[str]:
    """Send lines, all in one packet behind EHLO, and give what comes back for them, line by line."""
    said = b""

    async def session() -> None:
        nonlocal said
        wire = Wire(recorder or Recorder(), settings or ServerSettings())
        wire.send(b"EHLO client.example\r\n" + text.encode())
        wire.end()
        await wire.finished()
        said = bytes(wire.received).partition(EXTENSIONS)[2]
        await wire.server.close(0)

    asyncio.run(session())
    return said.decode().splitlines()
