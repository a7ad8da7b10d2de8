"""Onion MXes with certificates of their own behind one SOCKS port."""

import asyncio
import ssl
from contextvars import ContextVar
from dataclasses import dataclass, field

from tests.probe.mx import OFFERING_TLS, Mx

_ONION: ContextVar[str] = ContextVar("onion of a connection")


@dataclass
class OnionMxes(Mx):
    """What each of them shows.

    Attributes:
        contexts: by onion; one that is not there offers no STARTTLS.
        asked_for: names of servers that clients have asked for.
    """

    contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)
    asked_for: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        for context in self.contexts.values():
            context.sni_callback = lambda _tls, name, _context: self.asked_for.append(name)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        goes_on = await super()._connect(reader, writer)
        _ONION.set(self.targets[-1][0])
        return goes_on

    async def _say(self, verb: str, writer: asyncio.StreamWriter) -> bool:
        context = self.contexts.get(_ONION.get())
        if verb == "EHLO" and "EHLO" not in self.replies and context:
            writer.write(OFFERING_TLS.replace("250 PIPELINING", "250-CHUNKING\r\n250 PIPELINING").encode())
            return True
        goes_on = await super()._say(verb, writer)
        if goes_on and verb == "STARTTLS" and context and "STARTTLS" not in self.replies:
            await writer.start_tls(context)
        return goes_on
