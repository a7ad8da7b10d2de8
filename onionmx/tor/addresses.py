"""Virtual addresses from Tor's DNSPort for a daemon: as `onionmx.tor.automap.resolve`, without holding up the loop."""

import asyncio
from collections.abc import Iterable

from onionmx.onion import Endpoint
from onionmx.tor.automap import ATTEMPTS, DEFAULT_TIMEOUT, Conversation, format_hosts


async def host_list(
    endpoints: Iterable[Endpoint], dnsport: tuple[str, int], user: str, within: float = DEFAULT_TIMEOUT
) -> tuple[str, tuple[str, ...]]:
    """The host list for Exim's `route_data`, as `onionmx-route` prints it.

    Args:
        endpoints: in route order.
        dnsport: IP address and port of Tor's DNSPort.
        user: `tor.user`, the only one besides root and ourselves who may listen there.
        within: seconds for all of them together.

    Returns:
        `ip` or `ip::port`, joined by colons; and what was left out, with reasons.

    Raises:
        AutomapError: there is no address for any of them, or the port is not tor's.
    """
    endpoints = tuple(endpoints)
    conversation = Conversation((onion for onion, _ in endpoints), dnsport, user)
    packets = _Packets(conversation)
    try:
        # A connected socket takes packets from this peer alone, and hears of a closed port at once.
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: packets, remote_addr=dnsport)
    except OSError as error:
        raise conversation.failure(error) from error
    try:
        for _ in range(ATTEMPTS):
            for question in conversation.unanswered():
                transport.sendto(question)
            await asyncio.wait((packets.done,), timeout=within / ATTEMPTS)
            if packets.done.done():
                packets.done.result()
                break
    finally:
        transport.close()
    return format_hosts(endpoints, conversation.results(within))


class _Packets(asyncio.DatagramProtocol):
    """What comes from the DNSPort."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 -- asyncio's signature
        if self._conversation.take(data) and not self.done.done():
            self.done.set_result(None)

    def error_received(self, exc: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(self._conversation.failure(exc))
