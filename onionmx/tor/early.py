"""A stream to an onion that can be written to before tor has connected it (tor(1), "optimistic data").

What is written leaves in one piece with the request, and tor forwards it as soon as it has a circuit: a round trip
less. Where tor refuses, its reason decides whether anything can have reached the onion service.
"""

import asyncio
from typing import Self

from onionmx.net.stream import SocketStream, take_over
from onionmx.smtp.faults import StreamError, UnreachedError
from onionmx.tor.socks import Cause, SocksError, SocksRequest

NOT_REACHED = frozenset(
    {
        Cause.REFUSED,
        Cause.DESCRIPTOR_NOT_FOUND,
        Cause.DESCRIPTOR_INVALID,
        Cause.INTRODUCTION_FAILED,
        Cause.RENDEZVOUS_FAILED,
        Cause.AUTHORIZATION_MISSING,
        Cause.AUTHORIZATION_WRONG,
        Cause.BAD_ADDRESS,
        Cause.INTRODUCTION_TIMEOUT,
    }
)
"""Tor's causes after which nothing has reached the onion service.

After others, after a timeout and after a lost connection what was written may have come to the service: tor may give
up a stream that it has begun.
"""


class EarlyStream(SocketStream):
    """Sends the request to tor before the first bytes, and reads tor's reply before the peer's.

    Made by `over`.

    Attributes:
        failure: why tor has not connected it; `None` where it has, or not yet.
    """

    def __init__(self, request: SocksRequest) -> None:
        super().__init__()
        self.failure: SocksError | None = None
        self._request = request
        self._handshake = request.handshake
        loop = asyncio.get_running_loop()
        self._limits = [
            loop.call_later(request.first_answer, self._look_at_answer),
            loop.call_later(request.timeout, self._give_up),
        ]

    @classmethod
    async def over(cls, request: SocksRequest) -> Self:
        """Make it, without a word to tor yet.

        Raises:
            StreamError: the connection is of no use.
        """
        return await take_over(request.connection, lambda: cls(request))

    async def read(self) -> bytes:
        """The next bytes from the peer, empty at the end.

        Raises:
            UnreachedError: tor has not connected it, and nothing that was written came to anybody.
            StreamError: the connection failed; what was written may have come there.
        """
        data = await super().read()
        if self.failure is not None:
            kind = UnreachedError if self.failure.cause in NOT_REACHED else StreamError
            raise kind(str(self.failure)) from self.failure
        return data

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes, the first of them behind the request."""
        if request := self._handshake.data_to_send():
            data = request + bytes(data)
        super().write(data)

    def data_received(self, data: bytes) -> None:
        """Bytes came, the first of them from tor."""
        if self._handshake.result is None:
            self._handshake.receive_data(data)
            if self._handshake.result is None:
                return
            data = self._handshake.rest
            self._answered()
        if data and self.failure is None:
            super().data_received(data)

    def eof_received(self) -> bool:
        """The end came, perhaps before tor has answered."""
        self._end_handshake()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, perhaps before tor has answered."""
        self._end_handshake()
        super().connection_lost(exc)

    def _end_handshake(self) -> None:
        if self._handshake.result is None:
            self._handshake.receive_eof()
            self._answered()

    def _answered(self) -> None:
        for limit in self._limits:
            limit.cancel()
        self.failure = self.failure or self._request.failure()
        if self.failure is not None:
            self.abort()

    def _look_at_answer(self) -> None:
        if not self._handshake.is_let_in:
            self._give_up()

    def _give_up(self) -> None:
        self.failure = self._request.late()
        self._end_handshake()
