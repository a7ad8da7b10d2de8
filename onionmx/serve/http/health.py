"""Whether the daemon can do its work: the files, the resolver, tor. Looked at every few seconds at most."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from onionmx.answer import CouldNotTell
from onionmx.config import parse_server, parse_socket
from onionmx.errors import OnionmxError
from onionmx.onion import DEFAULT_PORT
from onionmx.parts import Parts
from onionmx.serve.http.shared_look import SharedLook
from onionmx.tor.addresses import host_list
from onionmx.tor.nobody import UNUSED_ONION
from onionmx.tor.reach import reach, socks_in_use

DEADLINE = 5.0
"""Seconds for each part."""
NO_SUCH_DOMAIN = "invalid"
"""Reserved never to exist (RFC 6761 section 6.4): a resolver that says so answers, and nobody learns of a domain."""

_GREETING = b"\x05\x01\x00"  # SOCKS 5, one method: no authentication (RFC 1928 section 3)
_ACCEPTED = b"\x05\x00"


@dataclass(frozen=True, slots=True)
class HealthPart:
    """One part of the daemon's health.

    Attributes:
        ok: whether it works.
        seen: one line of what was seen.
    """

    ok: bool
    seen: str


class Health:
    """Looks at the parts.

    Args:
        parts: what is looked at.
        needs_dnsport: whether any client has asked for what only Tor's DNSPort can tell.
    """

    def __init__(self, parts: Parts, needs_dnsport: Callable[[], bool]) -> None:
        self._parts = parts
        self._needs_dnsport = needs_dnsport
        self._look = SharedLook(self._look_at_all)

    def use(self, parts: Parts) -> None:
        """Look at other parts from now on."""
        self._parts = parts
        self._look.forget()

    async def parts(self) -> dict[str, HealthPart]:
        """All parts by name."""
        return await self._look.seen()

    async def close(self) -> None:
        """Stop looking."""
        await self._look.close()

    async def _look_at_all(self) -> dict[str, HealthPart]:
        looks = (self._resolver(), self._tor(), self._dnsport())
        resolver, tor, dnsport = await asyncio.gather(*map(_within, looks))
        return {"map": self._map(), "resolver": resolver, "tor": tor, "dnsport": dnsport}

    def _map(self) -> HealthPart:
        try:
            self._parts.router.check()
        except OnionmxError as error:
            return HealthPart(ok=False, seen="; ".join(str(error).splitlines()))
        return HealthPart(ok=True, seen="local domains, pins and map can be read")

    async def _resolver(self) -> HealthPart:
        if not self._parts.configuration.lookup.live:
            return HealthPart(ok=True, seen="not asked: lookup.live is off")
        answer = await self._parts.resolver.ask(NO_SUCH_DOMAIN)
        if isinstance(answer, CouldNotTell):
            return HealthPart(ok=False, seen=answer.reason)
        return HealthPart(ok=True, seen="answers")

    async def _tor(self) -> HealthPart:
        tor = self._parts.configuration.tor
        where = socks_in_use(tor.socks)
        try:
            reader, writer = await asyncio.open_connection(sock=await reach(parse_server(where), tor.user))
        except OSError as error:
            return HealthPart(ok=False, seen=f"{where}: {error.strerror or error}: is tor running?")
        try:
            writer.write(_GREETING)
            reply = await reader.read(len(_ACCEPTED))
        except OSError as error:
            return HealthPart(ok=False, seen=f"{where}: {error.strerror or error}")
        finally:
            writer.close()
        if reply != _ACCEPTED:
            return HealthPart(ok=False, seen=f"{where}: this is not a SOCKS port of tor")
        return HealthPart(ok=True, seen="its SOCKS port answers")

    async def _dnsport(self) -> HealthPart:
        if not self._needs_dnsport():
            return HealthPart(ok=True, seen="not asked: no client has asked for the addresses of onions")
        tor = self._parts.configuration.tor
        hosts, _ = await host_list([(UNUSED_ONION, DEFAULT_PORT)], parse_socket(tor.dnsport), tor.user, DEADLINE)
        return HealthPart(ok=True, seen=f"gives onions addresses such as {hosts}")


async def _within(look: Awaitable[HealthPart]) -> HealthPart:
    try:
        async with asyncio.timeout(DEADLINE):
            return await look
    except TimeoutError:
        return HealthPart(ok=False, seen=f"no answer within {DEADLINE:g} s")
    except OnionmxError as error:
        return HealthPart(ok=False, seen=str(error))
