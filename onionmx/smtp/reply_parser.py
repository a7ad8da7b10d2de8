r"""Replies out of bytes that come in any pieces (RFC 5321 section 4.2, RFC 3463, RFC 2034).

    Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
    Reply-code = %x32-35 %x30-35 %x30-39

Leniencies, each with its reason:
- a line may end in a bare LF: a reply carries no message, so nothing can be smuggled by it, and Exim and Postfix as
  clients read such peers too;
- the second digit may be any: peers invent codes, and only the first digit decides;
- a code without text is enough (RFC 5321 section 4.2 asks clients for that);
- bytes that are not UTF-8 stand in the text as `\xNN`, and control characters as `?`: the text goes into logs and
  into a reply of ours, which such bytes could break.
"""

import re

from onionmx.reply import Reply
from onionmx.smtp.faults import ReplySyntaxError

MAX_LINE_LENGTH = 2048
"""Bytes in a line of a reply with its end. RFC 5321 section 4.5.3.1.5 says 512; long policy texts exceed it."""

MAX_REPLY_LENGTH = 32768
"""Bytes in all lines of a reply. An EHLO response has under 2000; a peer must not make us gather more."""

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_CONTROL = re.compile(r"[^\t\x20-\x7e\x80-\U0010ffff]|[\x80-\x9f]")

# status-code = class "." subject "." detail: ( "2" / "4" / "5" ) "." 1*3digit "." 1*3digit (RFC 3463 section 2)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|$)")


class ReplyParser:
    """Gathers bytes and gives back whole replies, in order.

    The limits hold while a line is still incomplete: a line of a megabyte is refused after `MAX_LINE_LENGTH` bytes.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0  # of the first line in the buffer that was not read yet
        self._code = b""
        self._lines: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer."""
        del self._buffer[: self._start]
        self._start = 0
        self._buffer += data

    @property
    def has_leftover(self) -> bool:
        """Whether bytes are here that no reply has taken: the start of another one."""
        return len(self._buffer) > self._start or bool(self._lines)

    def next_reply(self) -> Reply | None:
        """The next whole reply, `None` if more bytes are needed.

        Raises:
            ReplySyntaxError: no code at the start of a line, lines with different codes, or too long.
        """
        while (end := self._buffer.find(b"\n", self._start, self._start + MAX_LINE_LENGTH)) >= 0:
            line = bytes(self._buffer[self._start : end])
            self._length += end + 1 - self._start
            self._start = end + 1
            if self._take_line(line.removesuffix(b"\r")):
                reply = _make_reply(int(self._code), self._lines)
                self._code, self._lines, self._length = b"", [], 0
                return reply
        unfinished = self._buffer[self._start :]
        if len(unfinished) >= MAX_LINE_LENGTH:
            raise ReplySyntaxError(f"a reply line has more than {MAX_LINE_LENGTH} bytes")
        if unfinished and not unfinished[:3].isdigit():
            # Whoever sends something else than SMTP need not be waited for until it ends its line.
            raise _not_a_reply(bytes(unfinished))
        return None

    def _take_line(self, line: bytes) -> bool:
        """Add a line to the reply; `True` for its last one."""
        match = _LINE.fullmatch(line)
        if not match:
            raise _not_a_reply(line)
        code, mark, text = match.groups(b"")
        if self._lines and code != self._code:
            raise ReplySyntaxError(f"a reply has lines with the codes {self._code.decode()} and {code.decode()}")
        if self._length > MAX_REPLY_LENGTH:
            raise ReplySyntaxError(f"a reply has more than {MAX_REPLY_LENGTH} bytes")
        self._code = code
        self._lines.append(text)
        return mark != b"-"


def _make_reply(code: int, raw_lines: list[bytes]) -> Reply:
    """Decode the text and split off the enhanced code.

    It is split off wherever it is well-formed and its class is the first digit of the code, offered or not: peers
    send such codes without offering them, and no other text begins like one. Replies 3xx have none (RFC 2034).
    """
    lines = [_CONTROL.sub("?", line.decode("utf-8", "backslashreplace")) for line in raw_lines]
    match = _ENHANCED.match(lines[0])
    if not match or int(match[1][0]) != code // 100:
        return Reply(code, "", tuple(lines))
    enhanced = match[1]
    return Reply(code, enhanced, tuple(_without(enhanced, line) for line in lines))


def _without(enhanced: str, line: str) -> str:
    match = _ENHANCED.match(line)
    return line[match.end() :] if match and match[1] == enhanced else line


def _not_a_reply(line: bytes) -> ReplySyntaxError:
    return ReplySyntaxError(f"not an SMTP reply: {line[:40]!r}")
