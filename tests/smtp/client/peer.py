"""A peer without I/O that is as strict as real ones: Exim about transactions left open, Postfix about pipelining."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Decide = Callable[[str], int]
"""Gives the reply code for MAIL, RCPT, DATA, BDAT and END."""

ALL = ("PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 50000000")


def accept(stage: str) -> int:
    return 354 if stage == "DATA" else 250


@dataclass
class Accepted:
    """A message that the peer took."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


@dataclass
class PeerCore:
    """Bytes of the client in, replies out."""

    extensions: Sequence[str] = ALL
    decide: Decide = accept
    is_strict: bool = True  # about what the client does; off where the peer itself is at fault
    accepted: list[Accepted] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._buffer = b""
        self._in_data = False
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._content = b""
        self._failed = False

    @staticmethod
    def greeting() -> bytes:
        return b"220 peer.example ESMTP\r\n"

    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes, give back a reply for each command that is complete now."""
        self._buffer += data
        replies: list[bytes] = []
        while (reply := self._step()) is not None:
            replies.append(reply)
            if self.is_strict and "PIPELINING" not in self.extensions:
                assert not self._buffer, f"sent too early: {self._buffer!r}"
        return replies

    def _step(self) -> bytes | None:
        if self._in_data:
            return self._take_data()
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return None
        if line.startswith(b"BDAT"):
            size = int(line.split()[1])
            if len(rest) < size:
                return None
            self._buffer = rest[size:]
            self.commands.append(line.decode())
            return self._take_chunk(rest[:size], last=line.endswith(b" LAST"))
        self._buffer = rest
        self.commands.append(line.decode())
        return self._take_command(line.decode())

    def _take_command(self, line: str) -> bytes:
        verb = line.partition(" ")[0]
        match verb:
            case "EHLO":
                *others, last = ("peer.example", *self.extensions)
                return "".join(f"250-{text}\r\n" for text in others).encode() + f"250 {last}\r\n".encode()
            case "MAIL":
                code = self._take_mail(line)
            case "RCPT":
                code = self._take_recipient(line)
            case "DATA":
                code = self._take_data_command()
            case "RSET":
                self._reset()
                code = 250
            case _:
                code = {"NOOP": 250, "QUIT": 221}.get(verb, 500)
                assert code != 500 or not self.is_strict, line
        return _reply(code)

    def _take_mail(self, line: str) -> int:
        if self._sender is not None:
            return 503
        code = self.decide("MAIL")
        if code < 300:
            self._sender = _path(line)
        return code

    def _take_recipient(self, line: str) -> int:
        if self._sender is None:
            return 503
        code = self.decide("RCPT")
        if code < 300:
            self._recipients.append(_path(line))
        return code

    def _take_data_command(self) -> int:
        if self._sender is None:
            return 503
        code = self.decide("DATA")
        # Without recipients a peer may say so now, or only when it has got the message (RFC 2920 section 3.1).
        self._in_data = code == 354
        return code

    def _take_chunk(self, chunk: bytes, *, last: bool) -> bytes:
        if not self._recipients or self._failed:
            return _reply(503)
        code = self.decide("END" if last else "BDAT")
        if code >= 300:
            self._failed = True
            return _reply(code)
        self._content += chunk
        if last:
            self._accept()
        return _reply(code)

    def _take_data(self) -> bytes | None:
        buffer = b"\r\n" + self._buffer
        end = buffer.find(b"\r\n.\r\n")
        if end < 0:
            return None
        self._content = (buffer[2 : end + 2]).replace(b"\r\n..", b"\r\n.")
        if self._content.startswith(b".."):
            self._content = self._content[1:]
        self._buffer = buffer[end + 5 :]
        self._in_data = False
        code = self.decide("END") if self._recipients else 554
        if code < 300:
            self._accept()
        else:
            self._reset()
        return _reply(code)

    def _accept(self) -> None:
        assert self._sender is not None
        self.accepted.append(Accepted(self._sender, tuple(self._recipients), self._content))
        self._reset()

    def _reset(self) -> None:
        self._sender = None
        self._recipients = []
        self._content = b""
        self._failed = False


def _path(line: str) -> str:
    found = re.search(r"<([^>]*)>", line)
    assert found
    return found[1]


def _reply(code: int) -> bytes:
    return f"{code} text\r\n".encode()
