"""The commands of SMTP (RFC 5321 section 4.1, RFC 3030) and what LMTP does differently (RFC 2033)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

from onionmx.smtp.dots import DotDecoder
from onionmx.smtp.reply import OurReply, Reply
from onionmx.smtp.server import parameters
from onionmx.smtp.server.connection import SmtpConnection
from onionmx.smtp.server.content import Content, too_large
from onionmx.smtp.server.path import parse_path
from onionmx.smtp.server.refusal import HangUpError, RefusedError
from onionmx.smtp.server.seam import Client
from onionmx.smtp.server.settings import READ_SIZE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from onionmx.smtp.envelope import Envelope
    from onionmx.smtp.server.seam import Begin, Transaction
    from onionmx.smtp.server.settings import ServerSettings

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_START_CONTENT = Reply(354, "", ("end with CRLF . CRLF",))  # RFC 2034 section 4: no enhanced code for 3xx
_CHUNK = re.compile(r"([0-9]{1,20})(?: +(.*))?", re.DOTALL)  # chunk-size of RFC 3030 section 2


@dataclass(slots=True)
class CurrentTransaction:
    """The transaction at hand, from an accepted MAIL on.

    Attributes:
        delivery: the other side of the seam.
        envelope: what MAIL said.
        accepted: number of recipients.
        content: from the first BDAT or DATA on.
        has_failed: a chunk was refused, and RSET must follow (RFC 3030 section 2).
    """

    delivery: Transaction
    envelope: Envelope
    accepted: int = 0
    content: Content | None = None
    has_failed: bool = False

    def fail(self, why: str) -> None:
        """Let nothing more of the content through; the delivery is told."""
        self.has_failed = True
        if self.content:
            self.content.break_off(why)


class ServerSession(SmtpConnection):
    """A session in SMTP.

    Args:
        begin: opens a transaction at MAIL.
        deliveries: holds the content tasks that have not ended.
        opened: see `SmtpConnection`.
        closed: see `SmtpConnection`.
    """

    is_lmtp: ClassVar[bool] = False
    greeting = "ESMTP onionmx"

    def __init__(
        self,
        settings: ServerSettings,
        begin: Begin,
        deliveries: set[asyncio.Task[Sequence[Reply]]],
        opened: Callable[[SmtpConnection], Reply],
        closed: Callable[[SmtpConnection], None],
    ) -> None:
        super().__init__(settings, opened, closed)
        self._begin = begin
        self._deliveries = deliveries
        self._protocol = ""  # until a greeting
        self._open: CurrentTransaction | None = None
        self.commands = {
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
            "VRFY": self._vrfy,
            "HELP": self._help,
            **dict.fromkeys(("EXPN", "ETRN", "TURN", "AUTH", "STARTTLS"), self._not_implemented),
            **self._greetings(),
        }

    def _greetings(self) -> dict[str, Callable[[str], Awaitable[None]]]:
        return {"EHLO": self._ehlo, "HELO": self._helo}

    @property
    def is_between_transactions(self) -> bool:
        """Whether no transaction is open."""
        return self._open is None

    @property
    def takes_utf8(self) -> bool:
        """Whether MAIL of the open transaction had SMTPUTF8 (RFC 6531 section 3.7.4.1)."""
        return self._open is not None and self._open.envelope.smtputf8

    # Greetings.

    async def _ehlo(self, arguments: str) -> None:
        """EHLO, and LHLO in LMTP; a second one resets as RSET does (RFC 5321 section 4.1.4)."""
        await self._greet(arguments, "LMTP" if self.is_lmtp else "ESMTP")
        extensions = (
            "PIPELINING",
            "CHUNKING",
            f"SIZE {self._settings.max_message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "DSN",
            "ENHANCEDSTATUSCODES",
        )
        self.say(Reply(250, "", (self._settings.hostname, *extensions)))

    async def _helo(self, arguments: str) -> None:
        await self._greet(arguments, "SMTP")
        self.say(Reply(250, "", (self._settings.hostname,)))

    async def _greet(self, arguments: str, protocol: str) -> None:
        # The name is not looked at: what counts is where the connection comes from, and section 4.1.4 forbids to
        # refuse a message because of it.
        if not arguments:
            raise RefusedError(OurReply.BAD_ARGUMENTS, "the name of the client is missing")
        await self.forget_transaction("a new greeting")
        self._protocol = protocol

    # The envelope.

    async def _mail(self, arguments: str) -> None:
        if not self._protocol:
            raise RefusedError(OurReply.BAD_SEQUENCE, f"send {'LHLO' if self.is_lmtp else 'EHLO'} first")
        if self._open:
            raise RefusedError(OurReply.BAD_SEQUENCE, "a transaction is open already")
        sender, rest = _path("FROM:", arguments, OurReply.BAD_SENDER)
        if rest and self._protocol == "SMTP":
            raise RefusedError(OurReply.UNKNOWN_PARAMETER, "no parameters without EHLO")
        envelope = parameters.envelope(sender, rest)
        if envelope.size is not None and envelope.size > self._settings.max_message_size:
            self.say(too_large(self._settings))
            return
        # RFC 6531 section 4.3 and the registry of mail transmission types: UTF8SMTP and UTF8LMTP, without the E.
        protocol = f"UTF8{'LMTP' if self.is_lmtp else 'SMTP'}" if envelope.smtputf8 else self._protocol
        answer = await self._ask(self._begin(envelope, Client(self.number, self.is_lmtp, protocol)))
        if isinstance(answer, Reply):
            self.say(answer if answer.is_transient or answer.is_permanent else _fault(f"MAIL answered {answer.code}"))
            return
        self._open = CurrentTransaction(answer, envelope)
        self.client.is_free = False
        self.say(OurReply.SENDER_OK.value)

    async def _rcpt(self, arguments: str) -> None:
        if self._open is None:
            raise RefusedError(OurReply.BAD_SEQUENCE, "send MAIL first")
        if self._open.has_failed:
            raise RefusedError(OurReply.BAD_SEQUENCE, "a chunk was refused: send RSET")
        if self._open.content:
            raise RefusedError(OurReply.BAD_SEQUENCE, "the content has begun")
        address, rest = _path("TO:", arguments, OurReply.BAD_RECIPIENT)
        if rest and self._protocol == "SMTP":
            raise RefusedError(OurReply.UNKNOWN_PARAMETER, "no parameters without EHLO")
        recipient = parameters.recipient(address, rest, smtputf8=self._open.envelope.smtputf8)
        if self._open.accepted >= self._settings.max_recipients:
            raise RefusedError(OurReply.TOO_MANY_RECIPIENTS)
        more_follow = self._input.shows(b"RCPT")
        reply = await self._ask(self._open.delivery.recipient(recipient, more_follow=more_follow))
        if reply.is_positive:
            self._open.accepted += 1
        self.say(_fault("RCPT answered 3xx") if reply.is_intermediate else reply)

    # The content.

    async def _data(self, arguments: str) -> None:
        transaction = self._ready_for_content()
        if transaction.content:
            raise RefusedError(OurReply.BAD_SEQUENCE, "the content has begun with BDAT")
        if arguments:
            raise RefusedError(OurReply.BAD_ARGUMENTS, "DATA has no arguments")
        self.say(_START_CONTENT)
        self.in_content = True
        content = self._start(transaction)
        decoder = DotDecoder()
        while not decoder.ended:
            data, rest = decoder.feed(await self._input.octets(READ_SIZE))
            self._input.give_back(rest)
            await content.put(data)
        self.in_content = False
        await self._finish(transaction, content)

    async def _bdat(self, arguments: str) -> None:
        match = _CHUNK.fullmatch(arguments)
        if match is None:
            # Nobody knows where the chunk ends, and to take its octets for commands would be worse than to hang up.
            self.say(OurReply.BAD_ARGUMENTS.value.with_text("the chunk size is not a number"))
            raise HangUpError(OurReply.NOT_AN_MTA.value.with_text("cannot find the end of the chunk"))
        size, is_last = int(match[1]), (match[2] or "").upper() == "LAST"
        self.in_content = True
        try:
            transaction = self._ready_for_content()
            _check_last(match[2])
        except RefusedError:
            # RFC 3030 section 2: the octets are read anyway, and a message that lacks them must not go on.
            async for _ in self._chunk(size):
                pass
            self.in_content = False
            if self._open:
                self._open.fail("a chunk was refused")
            raise
        content = transaction.content or self._start(transaction)
        async for data in self._chunk(size):
            await content.put(data)
        self.in_content = False
        if is_last:
            await self._finish(transaction, content)
        elif content.refusal:
            transaction.fail("content refused")
            self.say(content.refusal)
        else:
            self.say(OurReply.DELIVERED.value.with_text(f"{size} octets received"))

    async def _chunk(self, size: int) -> AsyncIterator[bytes]:
        while size:
            data = await self._input.octets(size)
            size -= len(data)
            yield data

    def _ready_for_content(self) -> CurrentTransaction:
        if self._open is None:
            raise RefusedError(OurReply.BAD_SEQUENCE, "send MAIL first")
        if self._open.has_failed:
            raise RefusedError(OurReply.BAD_SEQUENCE, "a chunk was refused: send RSET")
        if not self._open.accepted:
            raise RefusedError(OurReply.BAD_SEQUENCE, "no recipient was accepted")
        return self._open

    def _start(self, transaction: CurrentTransaction) -> Content:
        transaction.content = Content(transaction.delivery, self._settings)
        self._deliveries.add(transaction.content.task)
        transaction.content.task.add_done_callback(self._deliveries.discard)
        return transaction.content

    async def _finish(self, transaction: CurrentTransaction, content: Content) -> None:
        """All the content is read: reply with the verdict, one for each accepted recipient in LMTP."""
        replies = await content.verdict(transaction.accepted if self.is_lmtp else 1)
        if self.is_broken_off and content.task.cancelled():
            raise HangUpError(OurReply.SHUTTING_DOWN.value)
        for reply in replies:
            self.say(_fault("the content answered 3xx") if reply.is_intermediate else reply)
        self._open = None
        self.client.is_free = True
        if any(reply.is_positive for reply in replies):
            self.client.delivered()
        self._bad_commands = 0

    # The rest.

    async def forget_transaction(self, why: str) -> None:
        """End the open transaction, if there is one: its delivery is told."""
        transaction, self._open = self._open, None
        self.client.is_free = True
        if transaction is None:
            return
        if transaction.content:
            transaction.fail(why)
            return
        with contextlib.suppress(RefusedError):
            await self._ask(transaction.delivery.abandon())

    async def _rset(self, arguments: str) -> None:
        if arguments:
            raise RefusedError(OurReply.BAD_ARGUMENTS, "RSET has no arguments")
        await self.forget_transaction("RSET")
        self.say(OurReply.RESET.value)

    async def _noop(self, _: str) -> None:
        self.say(OurReply.DELIVERED.value)

    async def _quit(self, arguments: str) -> None:
        if arguments:
            raise RefusedError(OurReply.BAD_ARGUMENTS, "QUIT has no arguments")
        raise HangUpError(OurReply.CLOSING.value)

    async def _vrfy(self, arguments: str) -> None:
        if not arguments:
            raise RefusedError(OurReply.BAD_ARGUMENTS, "the address is missing")
        self.say(OurReply.NOT_VERIFIED.value)  # RFC 5321 section 3.5.3

    async def _help(self, _: str) -> None:
        self.say(OurReply.HELP.value)

    async def _not_implemented(self, _: str) -> None:
        self.say(OurReply.NOT_IMPLEMENTED.value)

    async def _ask(self, answer: Awaitable[T]) -> T:
        """Ask the delivery; whatever goes wrong there is 451 for the client, and nothing more."""
        try:
            return await answer
        except asyncio.CancelledError:
            if self.task.cancelling():
                raise
            _logger.exception("session %d: the delivery was cancelled", self.number)
        except Exception:
            _logger.exception("session %d: the delivery failed", self.number)
        raise RefusedError(OurReply.INTERNAL)


class LmtpSession(ServerSession):
    """A session in LMTP: LHLO instead of EHLO and HELO, and a final reply for each accepted recipient."""

    is_lmtp = True
    greeting = "LMTP onionmx"

    def _greetings(self) -> dict[str, Callable[[str], Awaitable[None]]]:
        return {"LHLO": self._ehlo}


def _path(keyword: str, arguments: str, malformed: OurReply) -> tuple[str, str]:
    """The mailbox and the parameters behind `FROM:` or `TO:`."""
    if arguments[: len(keyword)].upper() != keyword:
        raise RefusedError(OurReply.BAD_ARGUMENTS, f"expected {keyword}<mailbox>")
    path = parse_path(arguments[len(keyword) :])
    if path is None:
        raise RefusedError(malformed)
    return path


def _check_last(keyword: str | None) -> None:
    if keyword and keyword.upper() != "LAST":
        raise RefusedError(OurReply.BAD_ARGUMENTS, "expected LAST or nothing after the chunk size")


def _fault(what: str) -> Reply:
    """The reply where the delivery gave one that has no place there."""
    _logger.error("the delivery is wrong: %s", what)
    return OurReply.INTERNAL.value
