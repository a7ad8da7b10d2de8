"""The content of one transaction on its way from the dialog to the delivery.

Refused here are only a size above the limit and, where the settings say so, bare newlines: those could end the message
early at the next hop. All else passes unchanged, since the judge is the onion MX, and a stricter relay would turn its
acceptances into bounces: lines of any length (RFC 5321 section 4.5.3.1.6 limits them, MTAs differ), NUL, which RFC 5321
forbids but Postfix and Exim let pass, and octets above 127 without BODY=8BITMIME, as about every MTA takes them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from onionmx.smtp.content import ContentScan, NewlineNormalizer
from onionmx.smtp.reply import OurReply, Reply
from onionmx.smtp.server.seam import ContentBrokenError
from onionmx.smtp.server.settings import READ_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onionmx.smtp.server.seam import Transaction
    from onionmx.smtp.server.settings import ServerSettings

_logger = logging.getLogger(__name__)


class ContentStream:
    """An iterator that one task feeds and another one reads, never holding more than two reads' worth.

    Attributes:
        is_exhausted: the reader has seen the end.
    """

    def __init__(self) -> None:
        self.is_exhausted = False
        self._chunks: list[bytes] = []
        self._size = 0
        self._has_ended = False
        self._is_unread = False
        self._failure: ContentBrokenError | None = None
        self._news: asyncio.Future[None] | None = None  # the reader waits for it
        self._room: asyncio.Future[None] | None = None  # the feeder waits for it

    def __aiter__(self) -> ContentStream:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._failure:
                raise self._failure
            if self._has_ended:
                self.is_exhausted = True
                raise StopAsyncIteration
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        chunk = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        _wake(self._room)
        return chunk

    async def put(self, chunk: bytes) -> None:
        """Hand over a piece, waiting for room; dropped once nobody reads any more."""
        while self._size >= READ_SIZE and not self._is_unread:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        if chunk and not self._is_unread:
            self._chunks.append(chunk)
            self._size += len(chunk)
            _wake(self._news)

    def end(self) -> None:
        """Let the reader see the end after all pieces."""
        self._has_ended = True
        _wake(self._news)

    def fail(self, failure: ContentBrokenError) -> None:
        """Let the reader see a failure at once, before pieces that it has not read."""
        self._failure = failure
        self.leave()
        _wake(self._news)

    def leave(self) -> None:
        """Nobody reads any more."""
        self._is_unread = True
        self._chunks.clear()
        _wake(self._room)


def _wake(sleeper: asyncio.Future[None] | None) -> None:
    if sleeper is not None and not sleeper.done():
        sleeper.set_result(None)


class Content:
    """Screens the content, feeds it to the delivery and brings back the verdict.

    Args:
        transaction: the delivery, whose `content` is started here.
        settings: size limit and what to do about bare newlines.

    Attributes:
        refusal: why the server itself refuses the content, as soon as it knows.
        task: the delivery at work.
    """

    def __init__(self, transaction: Transaction, settings: ServerSettings) -> None:
        self.refusal: Reply | None = None
        self._stream = ContentStream()
        self._settings = settings
        self._scan = ContentScan()
        self._normalizer = NewlineNormalizer()
        self._size = 0
        self._ended: asyncio.Future[None] | None = None  # of the task, for who waits for the verdict
        self.task = asyncio.get_running_loop().create_task(_deliver(transaction, self._stream))
        self.task.add_done_callback(self._done)

    async def put(self, data: bytes) -> None:
        """Take more of the content, at the delivery's pace; thrown away once it is refused or judged.

        Of several faults the first in the content is named, whatever the pieces that it comes in.

        Args:
            data: octets, without dot-stuffing.
        """
        if self.refusal:
            return
        self._size += len(data)
        excess = self._size - self._settings.max_message_size
        if excess > 0:
            data = data[: max(len(data) - excess, 0)]
        if self._settings.bare_newline == "normalize":
            data = self._normalizer.feed(data)
        else:
            self._scan.feed(data)
            self._check_newlines()
        if excess > 0 and not self.refusal:
            self._refuse(too_large(self._settings))
        await self._stream.put(data)

    def _check_newlines(self) -> None:
        if self._scan.has_bare_newline:
            self._refuse(OurReply.BARE_NEWLINE.value)

    async def verdict(self, count: int) -> Sequence[Reply]:
        """Give the end of the content and wait for the final replies.

        Args:
            count: replies expected.
        """
        if not self.refusal:
            await self._stream.put(self._normalizer.finish())
            self._scan.finish()
            self._check_newlines()
        if self.refusal:
            return [self.refusal] * count
        self._stream.end()
        # Nothing that happens to the session gets into the delivery from here on but the end of a stop's grace.
        if not self.task.done():
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended
        if self.task.cancelled() or self.task.exception():
            return [OurReply.INTERNAL.value] * count
        replies = self.task.result()
        if len(replies) != count:
            _logger.error("%d final replies from the delivery instead of %d", len(replies), count)
            return [OurReply.INTERNAL.value] * count
        if not self._stream.is_exhausted and any(reply.is_positive for reply in replies):
            _logger.error("the delivery accepted a message without having read it to its end")
            return [OurReply.INTERNAL.value] * count
        return replies

    def break_off(self, why: str) -> None:
        """Tell the delivery that no end will come."""
        self._stream.fail(ContentBrokenError(why))

    def _refuse(self, reply: Reply) -> None:
        self.refusal = reply
        self.break_off(f"content refused: {reply}")

    def _done(self, task: asyncio.Task[Sequence[Reply]]) -> None:
        self._stream.leave()
        _wake(self._ended)
        if task.cancelled():
            return
        error = task.exception()
        if error and not isinstance(error, ContentBrokenError):
            _logger.error("the delivery failed", exc_info=error)


async def _deliver(transaction: Transaction, stream: ContentStream) -> Sequence[Reply]:
    return await transaction.content(stream)


def too_large(settings: ServerSettings) -> Reply:
    """The refusal of a message over the limit (RFC 1870 section 6)."""
    return OurReply.TOO_LARGE.value.with_text(f"the message is larger than {settings.max_message_size} octets")
