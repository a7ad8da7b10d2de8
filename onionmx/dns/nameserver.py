"""How one resolver is asked: for no name of Tor, only where nobody else listens, and without EDNS where need be."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dns.message
import dns.nameserver
import dns.rcode

from onionmx.config import Resolver
from onionmx.dns.choice import Choice
from onionmx.dns.leaving import check_message
from onionmx.errors import OwnerError

Send = Callable[[dns.message.QueryMessage, float], Awaitable[dns.message.Message]]
"""Sends a question and waits for the answer, so many seconds at most."""
_WITHOUT_EDNS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTIMP})
"""What a resolver says to an OPT record that it does not know (RFC 6891 section 7)."""
_failures: ContextVar[list[str] | None] = ContextVar("_failures", default=None)


@contextmanager
def noting_failures() -> Iterator[list[str]]:
    """Collect what resolvers fail with (SERVFAIL, RFC 4035 section 5.5) while a question is asked."""
    found: list[str] = []
    token = _failures.set(found)
    try:
        yield found
    finally:
        _failures.reset(token)


async def ask(request: dns.message.QueryMessage, resolver: Resolver, seconds: float, send: Send) -> dns.message.Message:
    """Ask one resolver, and once more without EDNS where it does not know it; AD can be asked for and told without.

    Args:
        seconds: for both.

    Raises:
        DnsError: the question is for a name that only Tor may be asked for.
    """
    check_message(request)
    end = time.monotonic() + seconds
    response = await send(request, seconds)
    if request.edns >= 0 and response.rcode() in _WITHOUT_EDNS:
        (question,) = request.question
        plain = dns.message.make_query(
            question.name, question.rdtype, question.rdclass, use_edns=False, flags=int(request.flags)
        )
        response = await send(plain, max(end - time.monotonic(), 0.0))
    failures = _failures.get()
    if failures is not None and response.rcode() == dns.rcode.SERVFAIL:
        failures.append(str(resolver))
    return response


class PlainNameserver(dns.nameserver.Do53Nameserver):
    """A resolver that dnspython asks by UDP, and by TCP where an answer is too long.

    Args:
        choice: that it is one of.
    """

    def __init__(self, resolver: Resolver, choice: Choice) -> None:
        super().__init__(resolver.host, resolver.port)
        self._resolver = resolver
        self._choice = choice

    async def async_query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,  # noqa: ASYNC109 -- dnspython's signature
        source: str | None,
        source_port: int,
        max_size: bool,  # noqa: FBT001 -- dnspython's signature
        *arguments: Any,  # noqa: ANN401 -- dnspython's
        **options: Any,  # noqa: ANN401 -- dnspython's
    ) -> dns.message.Message:
        """Ask, and wait for the answer; see dnspython.

        Raises:
            OSError: somebody else listens there, or nobody.
        """
        query = super().async_query

        async def send(message: dns.message.QueryMessage, seconds: float) -> dns.message.Message:
            return await query(message, seconds, source, source_port, max_size, *arguments, **options)

        try:
            listener = self._choice.listener(self._resolver, is_udp=not max_size)
            response = await ask(request, self._resolver, timeout, send)
            if listener is not None:
                listener.confirm()
        except OwnerError as error:
            raise OSError(str(error)) from error  # dnspython asks the others then
        return response
