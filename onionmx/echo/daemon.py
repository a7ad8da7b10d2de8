"""The echo as a daemon that the MTA delivers to by LMTP (RFC 2033), on aiosmtpd."""

import asyncio
import logging
import re
import socket

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from onionmx.config import Configuration
from onionmx.echo.agent import Echo, EchoOptions
from onionmx.echo.message import MAX_MESSAGE, domain_of
from onionmx.echo.submit import Submit
from onionmx.errors import OnionmxError
from onionmx.parts import Parts
from onionmx.text import printable_ascii

_MAX_SIZE = 64 * 1024 * 1024
"""Bytes of a message that are taken, to be thrown away: the MTA would return a larger one to its sender."""
_MAX_LINE = 1024 * 1024
"""Bytes of a line, for the same reason; MTAs break those above 998 (RFC 5321 section 4.5.3.1.6), or should."""
_NULL = "<>"
"""What aiosmtpd has for the null sender."""
_SENDER = re.compile(r"FROM:\s*<([^<>\s]*[^<>\s.])>", re.IGNORECASE)
"""In a MAIL command; the library takes no dot at the end."""
_IDLE = 300.0
"""Seconds without a command after which a client is left."""

_logger = logging.getLogger(__name__)


class Deliveries:
    """What aiosmtpd calls for each command."""

    def __init__(self, echo: Echo) -> None:
        self.echo = echo

    async def handle_RCPT(  # noqa: N802 -- the name and arguments are aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """One recipient at a time: aiosmtpd gives one reply to a message, and LMTP wants one for each recipient."""
        del server, session
        if envelope.rcpt_tos:
            return "452 4.5.3 one recipient at a time"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take the message; whatever goes wrong here, the MTA keeps it."""
        del server, session
        content = (envelope.original_content or b"")[: MAX_MESSAGE + 1]
        sender = "" if envelope.mail_from in {None, _NULL} else envelope.mail_from
        try:
            done = await self.echo.take(content, sender, envelope.rcpt_tos[0])
        except OnionmxError as error:
            _logger.warning("%s", error)
            return f"451 4.3.0 {printable_ascii(str(error))}"
        except Exception:
            _logger.exception("internal error")
            return "451 4.3.0 internal error"
        _logger.info("%s", done)
        return f"250 2.0.0 {done}"

    async def handle_exception(self, error: Exception) -> str:
        """A fault of the library; it would refuse the message for good."""
        _logger.error("internal error", exc_info=error)
        return "451 4.3.0 internal error"


class _Lmtp(LMTP):
    line_length_limit = _MAX_LINE

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        """Take every sender: from one that is refused the MTA would return the message, and he may not have written it.

        One that gets no answer anyhow, and that the library may refuse, is taken for the null one; parameters change
        nothing here.
        """
        found = _SENDER.match(arg or "")
        sender = found[1] if found and domain_of(found[1]) is not None else ""
        await super().smtp_MAIL(f"FROM:<{sender}>")


class EchoService:
    """What runs; see `onionmx.daemon.Service`.

    Args:
        bound: where the MTA connects.
    """

    name = "echo"

    def __init__(
        self, configuration: Configuration, options: EchoOptions, submit: Submit, bound: socket.socket
    ) -> None:
        self._configuration = configuration
        self._options = options
        self._submit = submit
        self._bound = bound
        self._former: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """See `onionmx.daemon.Service`."""
        logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd logs addresses
        self._parts = Parts(self._configuration, to_write=False)
        self._deliveries = Deliveries(self._echo_of(self._parts))
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if self._bound.family == socket.AF_UNIX else loop.create_server
        self._server = await create(self._session, sock=self._bound)

    def take(self, configuration: Configuration) -> None:
        """Use another configuration."""
        parts = Parts(configuration, to_write=False)
        self._deliveries.echo = self._echo_of(parts)
        former, self._parts = self._parts, parts
        task = asyncio.create_task(former.close())
        self._former.add(task)
        task.add_done_callback(self._former.discard)

    def refused(self) -> None:
        """See `onionmx.daemon.Service`."""

    async def stop(self) -> None:
        """Take no more; a delivery that is cut off is one that the MTA repeats."""
        self._server.close()
        await asyncio.gather(self._parts.close(), *self._former, return_exceptions=True)

    def _echo_of(self, parts: Parts) -> Echo:
        return Echo(self._options, parts.router.route, self._submit)

    def _session(self) -> LMTP:
        # An MTA that has mail of an address beyond ASCII would not even begin, and return it.
        return _Lmtp(
            self._deliveries, data_size_limit=_MAX_SIZE, timeout=_IDLE, ident="onionmx echo", enable_SMTPUTF8=True
        )
