r"""Replies out of bytes that come in any pieces (RFC 5321 section 4.2, RFC 3463, RFC 2034).

    Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
    Reply-code = %x32-35 %x30-35 %x30-39

Leniencies, each with its reason:
- a line may end in a bare LF: a reply carries no message, so nothing can be smuggled by it, and Exim and Postfix as
  clients read such peers too;
- the second digit may be any: peers invent codes, and only the first digit decides;
- a code without text is enough (RFC 5321 section 4.2 asks clients for that);
- a line may have any length: what is over `MAX_LINE_LENGTH` is dropped, and its code counts, as with Postfix;
- bytes that are not UTF-8 are written as `\xNN`, control characters as `?`, and what turns the direction of the
  text, ends a line in Unicode or is not seen as `\uNNNN`: the text goes into logs and into a reply of ours.
"""

import re

from onionmx.smtp.faults import ReplySyntaxError
from onionmx.smtp.reply import Reply
from onionmx.text import escaped

MAX_LINE_LENGTH = 2048
"""Bytes kept of a line of a reply. RFC 5321 section 4.5.3.1.5 says 512; long policy texts exceed it."""

MAX_REPLY_LENGTH = 32768
"""Bytes in all lines of a reply. An EHLO response has under 2000; a peer must not make us gather more."""

MAX_SHOWN = 200
"""Bytes of what is no reply that are shown in the words about it: mostly a page of some other service."""

_BEGUN_LINE = re.compile(rb"[2-5][0-9]{0,2}$|[2-5][0-9]{2}[ \r-]")
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_CONTROL = re.compile(r"[^\t\x20-\x7e\x80-\U0010ffff]|[\x80-\x9f]")

# status-code = class "." subject "." detail: ( "2" / "4" / "5" ) "." 1*3digit "." 1*3digit (RFC 3463 section 2)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|$)")


class ReplyParser:
    """Gathers bytes and gives back whole replies, in order.

    What is held is limited while a line is still incomplete too; how long a peer may go on with one is the shell's.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0  # of the first line in the buffer that was not read yet
        self._head = b""  # of a line that is longer than what is kept of it
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
        return len(self._buffer) > self._start or bool(self._head or self._lines)

    def next_reply(self) -> Reply | None:
        """The next whole reply, `None` if more bytes are needed.

        Raises:
            ReplySyntaxError: no code at the start of a line, lines with different codes, or too many of them.
        """
        while (end := self._buffer.find(b"\n", self._start)) >= 0:
            line = self._head + self._buffer[self._start : end]
            self._head = b""
            self._start = end + 1
            if self._take_line(line.removesuffix(b"\r")[:MAX_LINE_LENGTH]):
                reply = _make_reply(int(self._code), self._lines)
                self._code, self._lines, self._length = b"", [], 0
                return reply
        unfinished = self._head + self._buffer[self._start :]
        if unfinished and not _BEGUN_LINE.match(unfinished):
            # A peer that sends something else than SMTP need not be waited for until it ends its line.
            raise _not_a_reply(unfinished)
        if len(unfinished) > MAX_LINE_LENGTH:
            self._head = unfinished[:MAX_LINE_LENGTH]
            self._buffer.clear()
            self._start = 0
        return None

    def _take_line(self, line: bytes) -> bool:
        """Add a line to the reply; `True` for its last one."""
        match = _LINE.fullmatch(line)
        if not match:
            raise _not_a_reply(line)
        code, mark, text = match.groups(b"")
        self._length += len(line) + len(b"\r\n")
        if self._lines and code != self._code:
            said = " / ".join(map(_text, (*(self._code + b" " + one for one in self._lines), line)))
            raise ReplySyntaxError(
                f"a reply has lines with the codes {self._code.decode()} and {code.decode()}: {said}"
            )
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
    lines = [_text(line) for line in raw_lines]
    match = _ENHANCED.match(lines[0])
    if not match or int(match[1][0]) != code // 100:
        return Reply(code, "", tuple(lines))
    enhanced = match[1]
    return Reply(code, enhanced, tuple(_without(enhanced, line) for line in lines))


def _text(line: bytes) -> str:
    text = _CONTROL.sub("?", line.decode("utf-8", "backslashreplace"))
    return text if text.isprintable() else "\t".join(map(escaped, text.split("\t")))


def _without(enhanced: str, line: str) -> str:
    match = _ENHANCED.match(line)
    return line[match.end() :] if match and match[1] == enhanced else line


def _not_a_reply(line: bytes) -> ReplySyntaxError:
    return ReplySyntaxError(f"not an SMTP reply: {line[:MAX_SHOWN]!r}")
