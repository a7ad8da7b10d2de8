"""Messages to one name server over TCP, many under way at once (RFC 7766 section 6.2.1.1), signed where a key is given.

The only place that opens a connection to the primary; foreign exceptions end here.
"""

import asyncio
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.opcode
import dns.rcode
import dns.tsig

from onionmx.dns.leaving import check_message
from onionmx.dns.tcp import MessageStream
from onionmx.errors import DnsError, UpdateError, UpdateRefusedError

TIMEOUT = 30.0
"""Seconds for one answer; an update of some hundred records in a signed zone takes a server well under a second."""
_ANSWERS = {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}


class ConnectionLostError(UpdateError):
    """The connection ended before the answer came."""


class Exchange:
    """A connection to a name server; made on first use, and again after the server closed it.

    Args:
        server: address and port.
        key: signs what is sent, and must have signed what comes back; `None` to send it plain.
        timeout: seconds for one answer.
    """

    def __init__(self, server: tuple[str, int], key: dns.tsig.Key | None, timeout: float = TIMEOUT) -> None:
        self.server = server
        self.name = "{} port {}".format(*server)
        self._key = key
        self._timeout = timeout
        self._stream: MessageStream | None = None
        self._connecting = asyncio.Lock()

    async def ask(self, message: dns.message.Message) -> dns.message.Message:
        """Send a question and return the answer; asked once more if the server closes the connection meanwhile.

        What was asked with a signature is answered with one (RFC 8945 section 5.3): anybody could have written another.
        Only a refusal need not be signed; Knot DNS does so for a zone that it does not hold.

        Raises:
            UpdateRefusedError: the server refuses the key.
            UpdateError: no answer that can be read, or one that is not signed though there is a key.
        """
        try:
            answer = await self.send(message)
        except ConnectionLostError:
            answer = await self.send(message)
        if self._key is not None and not answer.had_tsig and answer.rcode() in _ANSWERS:
            raise UpdateError(
                f"{self.name}: its answer is not signed, though the question was (RFC 8945), so it may be anybody's: "
                f"look for a proxy or load balancer on the way"
            )
        return answer

    async def send(self, message: dns.message.Message) -> dns.message.Message:
        """Send a message once and return the answer.

        Raises:
            UpdateRefusedError: the server refuses the key.
            ConnectionLostError: the server may or may not have taken it.
            UpdateError: no answer that can be read.
        """
        try:
            check_message(message)
        except DnsError as error:
            raise UpdateError(str(error)) from error
        stream = await self._connect()
        try:
            async with asyncio.timeout(self._timeout):
                wire = await stream.ask(message, self._key)
        except TimeoutError as error:
            raise UpdateError(f"{self.name}: no answer within {self._timeout:g} s") from error
        except OSError as error:
            raise ConnectionLostError(f"{self.name}: {error.strerror or error}") from error
        return self._read(message, wire)

    def _read(self, message: dns.message.Message, wire: bytes) -> dns.message.Message:
        try:
            try:
                answer = dns.message.from_wire(wire, keyring=self._key or False, request_mac=message.mac)
            except dns.exception.FormError:
                # An unsigned answer: a refusal, or somebody else's. It is for the caller to believe; had_tsig tells.
                answer = dns.message.from_wire(wire, keyring=False)
        except dns.tsig.PeerBadKey as error:
            raise UpdateRefusedError(f"{self.name}: BADKEY, it does not know {self._key_words()}") from error
        except dns.tsig.PeerBadSignature as error:
            raise UpdateRefusedError(f"{self.name}: BADSIG, it has another secret for {self._key_words()}") from error
        except (dns.tsig.PeerBadTime, dns.tsig.BadTime) as error:
            raise UpdateError(
                f"{self.name}: BADTIME, the clocks of this host and of the name server differ by more than 5 minutes: "
                "set them by NTP"
            ) from error
        except dns.exception.DNSException as error:
            raise UpdateError(f"{self.name}: its answer cannot be used, {type(error).__name__}: {error}") from error
        if not message.is_response(answer):
            raise UpdateError(f"{self.name}: its answer is not one to what was asked")
        if self._key is not None and not answer.had_tsig and _refuses_the_key(answer):
            raise UpdateRefusedError(f"{self.name}: NOTAUTH, it does not know {self._key_words()}")
        return answer

    def _key_words(self) -> str:
        assert self._key is not None  # noqa: S101 -- only what was signed is refused for its key
        name = self._key.name.to_text(omit_final_dot=True)
        algorithm = self._key.algorithm.to_text(omit_final_dot=True)
        return f"key {name!r} with {algorithm}: name, algorithm and secret must be the same on both sides"

    async def _connect(self) -> MessageStream:
        async with self._connecting:
            if self._stream is None or self._stream.is_closed:
                try:
                    async with asyncio.timeout(self._timeout):
                        self._stream = MessageStream(*await asyncio.open_connection(*self.server))
                except TimeoutError as error:
                    raise UpdateError(f"{self.name}: no connection within {self._timeout:g} s") from error
                except OSError as error:
                    words = error.strerror or str(error)
                    raise UpdateError(f"{self.name}: no connection over TCP: {words}") from error
            return self._stream

    async def close(self) -> None:
        """Close the connection."""
        if self._stream is not None:
            self._stream.close()
            await self._stream.wait_closed()
            self._stream = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _refuses_the_key(answer: dns.message.Message) -> bool:
    """Whether an unsigned answer is that of Knot DNS from 3.3 on: no BADKEY, though RFC 8945 section 5.2.1 asks for it.

    To an update NOTAUTH may mean the zone (RFC 2136 section 2.2), to a question only the key.
    """
    return answer.opcode() == dns.opcode.QUERY and answer.rcode() == dns.rcode.NOTAUTH
