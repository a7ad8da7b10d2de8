"""The seam between the server and what delivers: one `Transaction` for each MAIL command.

The server speaks SMTP and LMTP and knows nothing of routes; a delivery knows routes and nothing of the dialog. For each
transaction that a `Begin` has opened, exactly one of these happens:

- `content` is called once, and after it nothing more; or
- `abandon` is called once: RSET, a new EHLO, QUIT, a lost client or a stop came before any content.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import Struct

from onionmx.errors import OnionmxError
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.reply import Reply


class ContentBrokenError(OnionmxError):
    """The content does not come to its end: the client broke off, or the server refuses what it has seen of it.

    Raised out of the iterator that `Transaction.content` reads. Nothing of the message may be delivered: a delivery
    gives up before it sends an end of data, and lets this exception pass.
    """


class Client(Struct, frozen=True):
    """Who hands over a message, as far as a delivery needs to know; never an address or a host name.

    Attributes:
        session: number of the session in this process, for log lines.
        is_lmtp: replies after the content are one for each accepted recipient (RFC 2033 section 4.2).
        protocol: keyword for the `with` clause of a Received header, such as `ESMTP` (RFC 3848, RFC 6531 section 4.3).
    """

    session: int
    is_lmtp: bool
    protocol: str


class Transaction(Protocol):
    """One message being handed over. Any exception from here is answered 451 4.3.0 and logged."""

    async def recipient(self, recipient: Recipient, *, more_follow: bool) -> Reply:
        """Judge one recipient.

        Args:
            recipient: address and DSN parameters, syntactically right; the domain may be an address literal `[...]`,
                and `postmaster` comes without a domain (RFC 5321 section 4.1.1.3).
            more_follow: the input at hand shows another RCPT behind this one. False says nothing: the next one may
                still be on its way.

        Returns:
            The reply to RCPT; any 2xx makes it an accepted recipient.
        """
        ...

    async def content(self, chunks: AsyncIterator[bytes]) -> Sequence[Reply]:
        """Take the message and deliver it.

        Runs until it returns, even if the client goes away after the end of data: the delivery sets its own deadline.
        A return before the end of the content is a verdict too (a refusal; an acceptance is taken for a fault of ours):
        the server reads what is left and throws it away.

        Args:
            chunks: the message in non-empty pieces as it streams in, without dot-stuffing. All line ends are CRLF; only
                the last one may be missing, after BDAT. NUL and lines of any length may come, and octets above 127
                whatever BODY says. Reading slowly slows down the client.

        Returns:
            One final reply for SMTP; for LMTP one for each accepted recipient, in the order of acceptance.

        Raises:
            ContentBrokenError: came out of `chunks`.
        """
        ...

    async def abandon(self) -> None:
        """Forget the transaction: no content will come."""
        ...


Begin = Callable[[Envelope, Client], Awaitable[Transaction | Reply]]
"""Opens a transaction at MAIL, the recipients of the envelope still empty, or refuses it with a reply (4xx or 5xx)."""
