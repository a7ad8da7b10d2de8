"""Virtual addresses from Tor's DNSPort for a daemon: as `onionmx.tor.automap.resolve`, without holding up the loop."""

import asyncio
import os
from collections.abc import Iterable

from onionmx.errors import AutomapError
from onionmx.onion import Endpoint
from onionmx.tor.automap import DEFAULT_TIMEOUT, confirm, decode_answer, encode_question, format_host, port_of_tor

_ATTEMPTS = 3  # UDP on loopback loses a packet only when a buffer overflows


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
    listener = port_of_tor(dnsport, user)
    results = await _resolve(dict.fromkeys(onion for onion, _ in endpoints), dnsport, within)
    confirm(listener)
    hosts: list[str] = []
    left_out: list[str] = []
    for onion, port in endpoints:
        result = results[onion]
        if isinstance(result, AutomapError):
            left_out.append(f"{onion}: {result}")
        else:
            hosts.append(format_host(result, port))
    if not hosts:
        raise AutomapError(f"no usable target: {'; '.join(left_out)}")
    return ":".join(hosts), tuple(left_out)


async def _resolve(onions: Iterable[str], dnsport: tuple[str, int], within: float) -> dict[str, str | AutomapError]:
    where = f"[{dnsport[0]}]:{dnsport[1]}" if ":" in dnsport[0] else f"{dnsport[0]}:{dnsport[1]}"
    loop = asyncio.get_running_loop()
    conversation = _Conversation(onions, where)
    try:
        # A connected socket takes packets from this peer alone, and hears of a closed port at once.
        transport, _ = await loop.create_datagram_endpoint(lambda: conversation, remote_addr=dnsport)
    except OSError as error:
        raise AutomapError(f"tor's DNSPort at {where} cannot be asked: {error.strerror}; is tor running?") from error
    try:
        for _ in range(_ATTEMPTS):
            conversation.ask(transport)
            await asyncio.wait((conversation.done,), timeout=within / _ATTEMPTS)
            if conversation.done.done():
                return conversation.done.result()
    finally:
        transport.close()
    return conversation.given_up(within)


class _Conversation(asyncio.DatagramProtocol):
    """Questions for some onions, all at once, and what came back."""

    def __init__(self, onions: Iterable[str], where: str) -> None:
        self._where = where
        self._questions = {onion: encode_question(onion, int.from_bytes(os.urandom(2), "big")) for onion in onions}
        self._results: dict[str, str | AutomapError] = {}
        self.done: asyncio.Future[dict[str, str | AutomapError]] = asyncio.get_running_loop().create_future()

    def ask(self, transport: asyncio.DatagramTransport) -> None:
        """Send the questions that have no answer yet."""
        for onion, question in self._questions.items():
            if onion not in self._results:
                transport.sendto(question)

    def given_up(self, within: float) -> dict[str, str | AutomapError]:
        """The results when time is over."""
        if not self._results:
            raise AutomapError(f"tor's DNSPort at {self._where} did not answer within {within:g} s")
        silent = AutomapError(f"the DNSPort did not answer within {within:g} s")
        return {onion: self._results.get(onion, silent) for onion in self._questions}

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 -- asyncio's signature
        for onion, question in self._questions.items():
            try:
                result: str | AutomapError | None = decode_answer(data, question)
            except AutomapError as error:
                result = error
            if result is not None:
                self._results[onion] = result
                break
        if len(self._results) == len(self._questions) and not self.done.done():
            self.done.set_result(self._results)

    def error_received(self, exc: Exception) -> None:
        why = exc.strerror if isinstance(exc, OSError) else exc
        if not self.done.done():
            self.done.set_exception(
                AutomapError(f"tor's DNSPort at {self._where} cannot be asked: {why}; is tor running?")
            )
