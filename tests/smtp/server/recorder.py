"""A delivery that remembers what the server gave it, and does as a test says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onionmx.smtp.reply import OurReply, Reply
from onionmx.smtp.server import Client, ContentBrokenError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from onionmx.smtp.envelope import Envelope, Recipient


@dataclass
class Recorder:
    """Opens transactions and keeps them.

    Attributes:
        sender: answer to MAIL instead of a transaction.
        recipients: answers to RCPT by address; others are accepted.
        final: answers to the content; the default accepts.
        keep: keep the content, or only count it.
        gate: each `content` waits for it before it reads anything.
        last_gate: each `content` waits for it before it answers.
        read: whether `content` reads its chunks.
        taken: set once a message has come to its end.
        fault: raised at the step it is filed under: begin, recipient, content, end or abandon.
    """

    sender: Reply | None = None
    recipients: dict[str, Reply] = field(default_factory=dict)
    final: Sequence[Reply] | None = None
    keep: bool = True
    gate: asyncio.Event | None = None
    last_gate: asyncio.Event | None = None
    read: bool = True
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    fault: dict[str, BaseException] = field(default_factory=dict)
    transactions: list[Recorded] = field(default_factory=list)

    async def begin(self, envelope: Envelope, client: Client) -> Recorded | Reply:
        self.fail("begin")
        if self.sender:
            return self.sender
        transaction = Recorded(self, envelope, client)
        self.transactions.append(transaction)
        return transaction

    def fail(self, step: str) -> None:
        if step in self.fault:
            raise self.fault[step]

    @property
    def messages(self) -> list[tuple[str, list[str], bytes]]:
        """Sender, recipients and content of all that came to the end."""
        return [
            (one.envelope.sender, [recipient.address for recipient in one.accepted], bytes(one.data))
            for one in self.transactions
            if one.ended
        ]

    @property
    def ends(self) -> list[str]:
        """How each transaction ended; a second end would show."""
        return [" ".join(one.ends) for one in self.transactions]


@dataclass
class Recorded:
    recorder: Recorder
    envelope: Envelope
    client: Client
    accepted: list[Recipient] = field(default_factory=list)
    more: list[bool] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    size: int = 0
    ended: bool = False
    ends: list[str] = field(default_factory=list)

    async def recipient(self, recipient: Recipient, *, more_follow: bool) -> Reply:
        self.recorder.fail("recipient")
        assert not self.ends
        self.more.append(more_follow)
        reply = self.recorder.recipients.get(recipient.address, OurReply.RECIPIENT_OK.value)
        if reply.is_positive:
            self.accepted.append(recipient)
        return reply

    async def content(self, chunks: AsyncIterator[bytes]) -> Sequence[Reply]:
        self.ends.append("content")
        assert self.accepted
        self.recorder.fail("content")
        if self.recorder.gate:
            await self.recorder.gate.wait()
        try:
            async for chunk in chunks if self.recorder.read else _nothing():
                assert chunk
                self.size += len(chunk)
                if self.recorder.keep:
                    self.data += chunk
        except ContentBrokenError:
            self.ends.append("broken")
            raise
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        self.ended = True
        self.recorder.taken.set()
        if self.recorder.last_gate:
            try:
                await self.recorder.last_gate.wait()
            except asyncio.CancelledError:
                self.ends.append("cancelled")
                raise
        self.recorder.fail("end")
        if self.recorder.final is not None:
            return self.recorder.final
        return [OurReply.DELIVERED.value] * (len(self.accepted) if self.client.is_lmtp else 1)

    async def abandon(self) -> None:
        self.ends.append("abandon")
        self.recorder.fail("abandon")


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
