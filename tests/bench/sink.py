"""An SMTP receiver that offers what Postfix and Exim offer, takes everything, and keeps the times of arrival.

Replies to what arrived together leave together, as from real servers. A message with the line `X-Bench-Digest: HEX`
is compared with that digest of everything after the line.
"""

import argparse
import asyncio
import hashlib
import time
from collections import Counter
from typing import cast

from tests.bench.relay_control import LOOPBACK, Message, run_forever, serve_control

DIGEST_HEADER = b"X-Bench-Digest: "
HEAD_LIMIT = 65536
"""Bytes at the beginning of a message in which the line with the digest must be."""

GREETING = b"220 sink.example ESMTP\r\n"
CAPABILITIES = (
    b"250-sink.example\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n"
    b"250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 CHUNKING\r\n"
)
ACCEPTED = b"250 2.0.0 Ok: queued\r\n"
GREETINGS = (b"EHLO", b"HELO")
REPLIES = {
    b"EHLO": CAPABILITIES,
    b"HELO": b"250 sink.example\r\n",
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RCPT": b"250 2.1.5 Ok\r\n",
    b"RSET": b"250 2.0.0 Ok\r\n",
    b"NOOP": b"250 2.0.0 Ok\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}


class Tally:
    """What has arrived since the last reset."""

    def __init__(self) -> None:
        self.sessions: Counter[str] = Counter()
        self.arrived = asyncio.Event()
        self.announces_pipe_connect = False
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.times: list[float] = []
        self.most_sessions = dict(self.sessions)
        self.equal = 0
        self.unequal = 0

    def opened(self, client: str) -> None:
        """Count a session of a client, by the name that it gives itself."""
        self.sessions[client] += 1
        self.most_sessions[client] = max(self.most_sessions.get(client, 0), self.sessions[client])

    def message(self, *, equal: bool | None) -> None:
        """Count one message; `equal` tells how its content compares with its digest."""
        self.times.append(time.monotonic())
        self.equal += equal is True
        self.unequal += equal is False
        self.arrived.set()

    async def answer(self, question: Message) -> Message:
        """Wait for a number of messages, give the figures, and begin anew."""
        while len(self.times) < question.get("wait", 0):
            self.arrived.clear()
            await self.arrived.wait()
        figures = {name: value for name, value in vars(self).items() if name != "arrived"}
        if question.get("reset"):
            self.reset()
        self.announces_pipe_connect = question.get("pipe_connect", self.announces_pipe_connect)
        return figures


class Content:
    """The content of one message, piece by piece."""

    def __init__(self) -> None:
        self._head = b""
        self._hash = hashlib.sha256()
        self._expected: bytes | None = None

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        if self._expected is not None:
            self._hash.update(piece)
        elif len(self._head) < HEAD_LIMIT:
            self._head += piece
            before, found, after = self._head.partition(DIGEST_HEADER)
            line, ended, rest = after.partition(b"\r\n")
            if found and ended and (not before or before.endswith(b"\n")):
                self._expected = line
                self._hash.update(rest)

    def equal(self) -> bool | None:
        """Tell whether the content is what its digest says; `None` without a digest."""
        return None if self._expected is None else self._hash.hexdigest().encode() == self._expected


class Session(asyncio.Protocol):
    """One SMTP session."""

    def __init__(self, tally: Tally, *, digests: bool) -> None:
        self._tally = tally
        self._digests = digests
        self._buffer = bytearray()
        self._read = self._command
        self._content: Content | None = None
        self._chunk = 0
        self._last = False
        self._at_start = False
        self._client = ""
        self._is_open = False  # a recipient was named

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(GREETING)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Count."""
        if self._client:
            self._tally.sessions[self._client] -= 1

    def data_received(self, data: bytes) -> None:
        """Answer all that is complete, in one write."""
        self._buffer += data
        replies: list[bytes] = []
        while (reply := self._read()) is not None:
            replies.append(reply)
        if replies:
            self._transport.write(b"".join(replies))
            if replies[-1] is REPLIES[b"QUIT"]:
                self._transport.close()

    def _command(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        verb = line[:4].upper()
        if verb == b"DATA":
            # The content search needs a line end in front, so that ".\r\n" at once is an end, too.
            self._buffer[:0] = b"\r\n"
            self._at_start = True
            self._content = Content() if self._digests else None
            self._read = self._data
            return b"354 End data with <CR><LF>.<CR><LF>\r\n"
        if verb == b"BDAT":
            words = line.split()
            if self._content is None and self._digests:
                self._content = Content()
            self._chunk = int(words[1])
            self._last = words[-1].upper() == b"LAST"
            self._read = self._bdat
            return b""
        if verb in {b"RCPT", b"RSET"}:
            self._is_open = verb == b"RCPT"
        if verb in GREETINGS and not self._client:
            self._client = line[4:].strip().decode()
            self._tally.opened(self._client)
        if verb == b"EHLO" and self._tally.announces_pipe_connect:
            return CAPABILITIES.replace(b"250 CHUNKING", b"250-CHUNKING\r\n250 PIPECONNECT")
        return REPLIES.get(verb, b"500 5.5.2 Error: command not recognized\r\n")

    def _data(self) -> bytes | None:
        end = self._buffer.find(b"\r\n.\r\n")
        # Pieces end before a line end, so that a doubled dot is never torn from the line end that it follows.
        piece = bytes(self._buffer[: end if end >= 0 else max(self._buffer.rfind(b"\r\n"), 0)])
        if self._content is not None:
            text = piece.replace(b"\r\n..", b"\r\n.") + (b"\r\n" if end >= 0 else b"")
            if text:
                self._content.add(text[2:] if self._at_start else text)
                self._at_start = False
        if end < 0:
            del self._buffer[: len(piece)]
            return None
        del self._buffer[: end + 5]
        return self._finish()

    def _bdat(self) -> bytes | None:
        if self._content is not None:
            piece = bytes(self._buffer[: self._chunk])
            self._content.add(piece)
        taken = min(self._chunk, len(self._buffer))
        del self._buffer[:taken]
        self._chunk -= taken
        if self._chunk:
            return None
        if not self._is_open:  # refused, and its octets are read all the same (RFC 3030 section 2)
            self._content = None
            self._read = self._command
            return b"503 5.5.1 Error: need RCPT command\r\n"
        if self._last:
            return self._finish()
        self._read = self._command
        return b"250 2.0.0 Ok\r\n"

    def _finish(self) -> bytes:
        self._tally.message(equal=self._content.equal() if self._content else None)
        self._content = None
        self._is_open = False
        self._read = self._command
        return ACCEPTED


async def _main(port: int, control: int, *, digests: bool) -> None:
    tally = Tally()
    await asyncio.get_running_loop().create_server(
        lambda: Session(tally, digests=digests), LOOPBACK, port, backlog=1024
    )
    await serve_control(control, tally.answer)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("control", type=int)
    parser.add_argument("--digests", action="store_true")
    arguments = parser.parse_args()
    run_forever(_main(arguments.port, arguments.control, digests=arguments.digests))
