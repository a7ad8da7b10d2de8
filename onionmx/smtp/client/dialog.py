"""A small SMTP dialogue for questions: one command, one reply, and never a message (RFC 5321).

It is for looking at a server, where `onionmx.smtp.client.session` is for delivering: each reply comes back as it is,
whatever its code, and only what makes further questions impossible is an error.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from onionmx.errors import TemporaryError
from onionmx.net.connect import OpenStream
from onionmx.net.stream import SocketStream
from onionmx.net.tls import unverified_context
from onionmx.onion import Endpoint
from onionmx.smtp.codes import Code
from onionmx.smtp.envelope import check_hello
from onionmx.smtp.extensions import Extensions, keywords, read_extensions
from onionmx.smtp.faults import MisuseError, OpeningError, ReplySyntaxError, StreamError
from onionmx.smtp.printable import printable_reply
from onionmx.smtp.reply import Reply
from onionmx.smtp.reply_parser import ReplyParser

QUIT_TIMEOUT = 5.0
"""Seconds for the reply to QUIT, on which nothing depends."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_QUESTIONS = frozenset({"DATA", "BDAT", "BURL", "STARTTLS"})


class DialogError(TemporaryError):
    """The dialogue cannot go on; one line with the command and what happened instead of a reply.

    Attributes:
        is_violation: whether the peer broke the protocol, rather than saying nothing; asking again would not help.
    """

    def __init__(self, cause: str, *, is_violation: bool = False) -> None:
        super().__init__(cause)
        self.is_violation = is_violation


class Dialog:
    """Questions to one SMTP server over a connected stream, which belongs to the dialogue from here on.

    The first calls are `greet` and `say_hello`; `open_dialog` makes both. After a `DialogError` nothing more can be
    asked; after a 421 neither, because the peer closes.

    Attributes:
        extensions: what the last response to EHLO offers, as far as it matters to a client.
        offered: all of it: keywords in upper case with their parameters.

    Args:
        stream: connected, nothing read from it yet.
        hello: the name for EHLO.
        timeout: seconds for each reply.

    Raises:
        EnvelopeError: the name cannot be said in EHLO.
    """

    def __init__(self, stream: SocketStream, hello: str, timeout: float) -> None:
        self.extensions = Extensions()
        self.offered: dict[str, str] = {}
        self._stream = stream
        self._hello = check_hello(hello)
        self._timeout = timeout
        self._parser = ReplyParser()
        self._end = ""  # why nothing more can be asked

    @property
    def is_usable(self) -> bool:
        """Whether another question can be asked."""
        return not self._end

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS that was started, with the certificate of the peer; `None` in the clear."""
        return self._stream.tls

    async def greet(self) -> Reply:
        """Wait for the greeting of the server.

        Raises:
            DialogError: none came.
        """
        return await self._reply("greeting", self._timeout)

    async def say_hello(self) -> Reply:
        """Say EHLO, and HELO where the peer does not know it; `extensions` and `offered` are of the answer.

        Raises:
            DialogError: no reply came.
        """
        self.extensions, self.offered = Extensions(), {}
        reply = await self.command(f"EHLO {self._hello}")
        if reply.is_permanent:
            return await self.command(f"HELO {self._hello}")
        if reply.is_positive:
            self.extensions = read_extensions(reply)
            self.offered = {name: " ".join(filter(None, texts)) for name, texts in keywords(reply).items()}
        return reply

    async def command(self, line: str) -> Reply:
        """Ask, and wait for the reply, which may be any.

        Args:
            line: a command without its line end, such as `RCPT TO:<user@example.org>`.

        Raises:
            DialogError: no reply came.
            MisuseError: not one line of text, or a command that sends content or changes the stream.
        """
        verb = line.partition(" ")[0].upper()
        if _CONTROL.search(line) or verb in _NOT_QUESTIONS:
            raise MisuseError(f"{line[:40]!r} is not a question")
        return await self._ask(verb, line)

    async def start_tls(self, context: ssl.SSLContext | None = None) -> Reply:
        """Start TLS; after it, `say_hello` again (RFC 3207 section 4.2).

        Args:
            context: what to start it with; by default no certificate is checked.

        Returns:
            The reply to STARTTLS. Unless it is 2xx, nothing has changed.

        Raises:
            DialogError: no reply came, or the handshake failed; its cause is then the error of `ssl`.
        """
        reply = await self._ask("STARTTLS", "STARTTLS")
        if not reply.is_positive:
            return reply
        if self._parser.has_leftover:
            raise self._ended("STARTTLS: bytes in the clear before the TLS handshake", is_violation=True)
        try:
            async with asyncio.timeout(self._timeout):
                await self._stream.start_tls(context or unverified_context())
        except TimeoutError:
            raise self._ended(f"the TLS handshake takes more than {self._timeout:g} s") from None
        except StreamError as error:
            cause = error.__cause__ or error
            # An end of the stream is an SSLError too.
            is_violation = isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError)
            raise self._ended(str(error), is_violation=is_violation) from cause
        return reply

    async def quit(self) -> Reply:
        """Say goodbye, and wait for the answer.

        Raises:
            DialogError: none came.
        """
        return await self._ask("QUIT", "QUIT", min(self._timeout, QUIT_TIMEOUT))

    async def close(self) -> None:
        """End the connection, with QUIT where one makes sense; raises nothing."""
        try:
            if self.is_usable:
                await self.quit()
        except DialogError:
            pass
        finally:
            self.abort()
        await self._stream.wait_closed()

    def abort(self) -> None:
        """End the connection at once."""
        self._end = self._end or "the dialogue was closed"
        self._stream.abort()

    async def _ask(self, verb: str, line: str, limit: float | None = None) -> Reply:
        if self._end:
            raise DialogError(f"{verb}: {self._end}")
        if self._parser.has_leftover:
            raise self._ended(f"{verb}: a reply came before the command", is_violation=True)
        self._stream.write(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return await self._reply(verb, self._timeout if limit is None else limit)

    async def _reply(self, asked: str, limit: float) -> Reply:
        try:
            async with asyncio.timeout(limit):
                reply = await self._read()
        except TimeoutError:
            raise self._ended(f"{asked}: no reply within {limit:g} s") from None
        except StreamError as error:
            raise self._ended(f"{asked}: {error}") from error
        except ReplySyntaxError as error:
            raise self._ended(f"{asked}: {error}", is_violation=True) from error
        if reply.code == Code.CLOSING or asked == "QUIT":
            self._end = f"the peer closes the session: {printable_reply(reply)}"
        return reply

    async def _read(self) -> Reply:
        while (reply := self._parser.next_reply()) is None:
            data = await self._stream.read()
            if not data:
                raise StreamError("the peer closed the connection")
            self._parser.feed(data)
        return reply

    def _ended(self, cause: str, *, is_violation: bool = False) -> DialogError:
        self._end = cause
        self._stream.abort()
        return DialogError(cause, is_violation=is_violation)


@asynccontextmanager
async def open_dialog(
    connect: OpenStream,
    endpoint: Endpoint,
    hello: str,
    timeout: float,  # noqa: ASYNC109 -- for each reply, not for the whole
) -> AsyncIterator[Dialog]:
    """Connect, wait for the greeting and say EHLO; at the end, say QUIT and close.

    Args:
        connect: see `onionmx.net.connect`: `over_tor` or `over_tcp`.
        endpoint: onion or IP address, and port.
        hello: the name for EHLO.
        timeout: seconds for each reply; the time for the connection is that of `connect`.

    Raises:
        SocksError: no connection over tor, with its cause.
        StreamError: no connection.
        DialogError: the peer did not answer, or not in SMTP.
        OpeningError: the peer refuses the session; has the reply.
        EnvelopeError: the name cannot be said in EHLO.
    """
    check_hello(hello)
    dialog = Dialog(await connect(endpoint), hello, timeout)
    try:
        await _begin(dialog)
        yield dialog
    except asyncio.CancelledError:
        dialog.abort()
        raise
    finally:
        await dialog.close()


async def _begin(dialog: Dialog) -> None:
    for step in (dialog.greet, dialog.say_hello):
        reply = await step()
        if not reply.is_positive:
            raise OpeningError(f"the peer refuses the session: {printable_reply(reply)}", reply)
