"""One connection of a client: what aiosmtpd's protocol class gives, with its timers, errors and writes replaced.

From `aiosmtpd.smtp.SMTP` come the protocol itself, the session and the way a connection becomes a task. Replaced:

- the command loop: it answers `500` with class and text for each exception, logs each command with its addresses, cuts
  pipelined replies into single writes and ends lines at a bare LF;
- `eof_received` and `connection_lost`: they cancel the command at work. Here only the end of the input is noted, so
  that a delivery that has all of its message finishes, and a client may half-close behind its last command;
- the timer: it runs on while data flow and while a delivery is at work. Here it runs while we wait for the client;
- `command_size_limits`, a dict that all sessions share and change;
- the constructor, which looks up every attribute of the class by reflection: 0.27 ms for each connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from itertools import count
from typing import TYPE_CHECKING, ClassVar, cast

from aiosmtpd.smtp import SMTP

from onionmx.net.clients import ConnectedClient
from onionmx.smtp.reply import OurReply, Reply
from onionmx.smtp.server.input import Input
from onionmx.smtp.server.refusal import HangUpError, RefusedError
from onionmx.smtp.server.settings import LINGER, MAX_BAD_COMMANDS, MAX_COMMAND_LENGTH, REPLY_DELAY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from onionmx.smtp.server.settings import ServerSettings

_logger = logging.getLogger(__name__)
_numbers = count(1)

# What a browser or a proxy sends, and no MTA: a page could make a browser post mail to a loopback port.
_HTTP = frozenset({"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PRI"})


class SmtpConnection(SMTP):
    """Reads commands and writes replies; what the commands do is told by subclasses.

    Args:
        opened: told when the connection is made; gives the greeting, and one that is not positive ends the session.
        closed: told when all is done.

    Attributes:
        greeting: what the first reply says behind the host name.
        commands: what to do with the arguments of each verb that is known.
        in_content: what comes next from the client is content, so that an error of ours cannot be got over.
        number: of the session in this process, for log lines.
        is_broken_off: the server ends without waiting any longer for deliveries.
        lingers: whether what the client still sends is read after the last reply.
    """

    greeting: ClassVar[str] = ""

    def __init__(
        self,
        settings: ServerSettings,
        opened: Callable[[SmtpConnection], Reply],
        closed: Callable[[SmtpConnection], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        # Not SMTP.__init__, see above: these are the attributes of it that the methods kept from there read.
        # No reader: what comes goes to `Input` at once.
        super(SMTP, self).__init__(None, self._cb_client_connected, self.loop)  # type: ignore[arg-type]
        self.session = None
        self.transport = None
        self._original_transport = None
        self._handler_coroutine: asyncio.Task[None] | None = None

        self.commands: dict[str, Callable[[str], Awaitable[None]]] = {}
        self.in_content = False
        self.lingers = True
        self.is_broken_off = False
        self.number = next(_numbers)
        self._settings = settings
        self._tell_opened = opened
        self._tell_closed = closed
        self._input = Input(self.loop, settings.idle_timeout, self._write)
        self._output = bytearray()
        self._output_timer: asyncio.TimerHandle | None = None
        self._bad_commands = 0
        self._leave: Reply | None = None

    # What a subclass tells.

    @property
    def is_between_transactions(self) -> bool:
        """Whether the session may end without taking anything from the client."""
        return True

    @property
    def takes_utf8(self) -> bool:
        """Whether a reply may hold more than ASCII."""
        return False

    async def forget_transaction(self, why: str) -> None:
        """End the open transaction, if there is one."""

    # Events of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._input.transport = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Octets came."""
        self._input.take(data)

    def eof_received(self) -> bool:
        """Note the end of the input; what was read before it is still obeyed and answered."""
        self._input.end()
        return True

    def pause_writing(self) -> None:
        """The client reads no replies."""
        super().pause_writing()
        self._input.is_stuck = True

    def resume_writing(self) -> None:
        """The client has read replies."""
        super().resume_writing()
        self._input.is_stuck = False
        self._input.wake()

    def _reset_timeout(self, duration: float | None = None) -> None:
        """No timer for the whole session: `Input` limits each wait."""

    def connection_lost(self, error: Exception | None) -> None:
        """Note the end of the connection; the task finds out when it next reads or writes."""
        super(SMTP, self).connection_lost(error)
        self.transport = None
        self._input.end()

    def stop(self) -> None:
        """End the session as soon as no transaction is open."""
        self._leave = self._leave or OurReply.SHUTTING_DOWN.value
        if self.is_between_transactions:
            self._input.interrupt(self._leave)

    def break_off(self) -> None:
        """End the session, whatever the client has still to send."""
        self._leave = OurReply.SHUTTING_DOWN.value
        self.is_broken_off = True
        self.lingers = False
        self._input.interrupt(self._leave)

    def make_room(self) -> None:
        """End the session, which waits for its client, for the sake of others: no end of a message has come."""
        self._leave = OurReply.MAKING_ROOM.value
        if self._writer.transport.get_write_buffer_size():  # it does not even read
            self._writer.transport.abort()
        else:
            self._input.interrupt(self._leave)

    @property
    def peer(self) -> object:
        """Address of the client, as the transport gives it."""
        return self._writer.get_extra_info("peername")

    @property
    def client(self) -> ConnectedClient:
        """Whose connection it is, as far as that is known, and for how long it is waited for."""
        return self._input.client

    @property
    def is_unix(self) -> bool:
        """Whether the client came through a unix socket."""
        return bool(self._writer.get_extra_info("socket").family == socket.AF_UNIX)

    @property
    def task(self) -> asyncio.Task[None]:
        """The session at work."""
        assert self._handler_coroutine is not None  # noqa: S101 -- made with the connection
        return self._handler_coroutine

    # Replies.

    def say(self, reply: Reply) -> None:
        """Reply to a command; sent with the replies to the commands behind it, or after `REPLY_DELAY`."""
        self._output += (reply if self.takes_utf8 else reply.in_ascii()).to_bytes()
        # Where no further command is here, the session waits for one now, and lets the replies out before it.
        if self._output_timer is None and self._input.has_more:
            self._output_timer = self.loop.call_later(REPLY_DELAY, self._write)

    def _write(self) -> None:
        if self._output_timer is not None:
            self._output_timer.cancel()
            self._output_timer = None
        if self._output and self.transport is not None:
            self._writer.write(bytes(self._output))
        self._output.clear()

    # The session.

    async def _handle_client(self) -> None:
        last: Reply | None = OurReply.INTERNAL.value
        try:
            if self.transport is not None:
                self._input.client = ConnectedClient.of(self._writer.get_extra_info("socket"))
            greeting = self._tell_opened(self)
            if greeting.is_positive:
                self.say(greeting)
                await self._converse()
            last = greeting
        except HangUpError as end:
            last = end.reply
        except asyncio.CancelledError:
            last = OurReply.SHUTTING_DOWN.value
            raise
        except Exception:
            _logger.exception("session %d: internal error", self.number)
        finally:
            try:
                await self._close(last)
            finally:
                self._input.close()
                self._tell_closed(self)

    async def _close(self, last: Reply | None) -> None:
        await self.forget_transaction("the session ends")
        if last is not None:
            self.say(last)
        self._write()
        if self.transport is None:
            return
        if self.lingers and last not in {None, OurReply.CLOSING.value} and not self.task.cancelling():
            with contextlib.suppress(OSError):  # reset by the client, which is not known here yet
                self._writer.write_eof()
            await self._input.drain(LINGER)
        self._writer.close()
        if self._writer.transport.get_write_buffer_size():  # a client that does not read its replies
            self.loop.call_later(LINGER, self._writer.transport.abort)

    async def _converse(self) -> None:
        while True:
            if self._leave and self.is_between_transactions:
                raise HangUpError(self._leave)
            line = await self._input.line(MAX_COMMAND_LENGTH)
            try:
                await self._obey(line)
            except RefusedError as refusal:
                self.say(refusal.reply)
            except (HangUpError, asyncio.CancelledError):
                raise
            except Exception:
                _logger.exception("session %d: internal error", self.number)
                if self.in_content:
                    raise HangUpError(OurReply.INTERNAL.value) from None
                self.say(OurReply.INTERNAL.value)
                await self.forget_transaction("internal error")

    async def _obey(self, line: bytes | None) -> None:
        if line is None:
            self._count_bad_command()
            raise RefusedError(OurReply.BAD_LINE, f"line longer than {MAX_COMMAND_LENGTH} octets")
        if not line.endswith(b"\r\n") and self._settings.bare_newline == "reject":
            # RFC 5321 section 2.3.8 knows no such line end, and what follows may be meant as the octets of a BDAT.
            # Postfix answers alike where smtpd_forbid_bare_newline is `reject`, and takes it for CRLF in `normalize`.
            self.say(OurReply.BAD_LINE.value.with_text("a line ends in a bare LF"))
            raise HangUpError(OurReply.NOT_AN_MTA.value)
        verb, _, arguments = line.decode("utf-8", "surrogateescape").rstrip(" \t\r\n").partition(" ")
        verb = verb.upper()
        if verb in _HTTP:
            raise HangUpError(OurReply.NOT_AN_MTA.value)
        command = self.commands.get(verb)
        if command is None:
            self._count_bad_command()
            raise RefusedError(OurReply.UNKNOWN_COMMAND)
        await command(arguments)

    def _count_bad_command(self) -> None:
        self._bad_commands += 1
        if self._bad_commands >= MAX_BAD_COMMANDS:
            raise HangUpError(OurReply.NOT_AN_MTA.value.with_text("too many bad commands"))
