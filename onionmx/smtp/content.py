"""The bytes of a message, in pieces of any size: what is wrong with them, and what DATA needs of them.

Everything here works with the searches of `bytes` and never byte by byte, for messages have 25 MB and more. What is
kept between two pieces is a few bytes, whatever the message is like.

Bare CR and LF are looked for because servers differ on whether they end a line: a message with them means two
different things to two servers, which is how mail is smuggled (RFC 5321 section 2.3.8 forbids them).
"""

import re

CRLF = b"\r\n"
DOT = b".\r\n"
"""The line that ends the content of DATA (RFC 5321 section 4.1.1.4)."""

_CR_ALONE = re.compile(rb"\r(?!\n|\Z)")
_RECEIVED = b"\nreceived:"
_END_OF_HEADER = (b"\n\r\n", b"\n\n")  # the second for messages that are going to be normalized


def _is_paired(piece: bytes, *, follows_cr: bool = False) -> bool:
    """Whether each LF follows a CR and each CR is followed by an LF, but for a CR that ends the piece.

    Args:
        piece: not empty.
        follows_cr: whether the piece before ended in CR.
    """
    if follows_cr and not piece.startswith(b"\n"):
        return False
    # One search and two counts of a single byte: counting the pairs themselves takes longer than both counts.
    return not _CR_ALONE.search(piece) and piece.count(b"\n") == (
        piece.count(b"\r") + follows_cr - piece.endswith(b"\r")
    )


class ContentScan:
    """What the message is like, as far as it was fed.

    Attributes:
        size: bytes.
        has_bare_newline: whether there is a CR without LF or an LF without CR. A CR at the very end is judged with
            the next piece, or by `finish`.
    """

    def __init__(self) -> None:
        self.size = 0
        self.has_bare_newline = False
        self._ends_in_cr = False

    def feed(self, piece: bytes) -> None:
        """Look at the next piece."""
        if not piece:
            return
        self.size += len(piece)
        if not self.has_bare_newline:
            is_paired = _is_paired(piece, follows_cr=self._ends_in_cr)
            self.has_bare_newline = not is_paired
            self._ends_in_cr = piece.endswith(b"\r")

    def finish(self) -> None:
        """Say that no piece follows."""
        self.has_bare_newline = self.has_bare_newline or self._ends_in_cr


class ReceivedCounter:
    """Counts the Received fields in the header, for finding loops (RFC 5321 section 6.3).

    Attributes:
        count: fields so far.
        in_header: whether the empty line that ends the header is still to come.
    """

    def __init__(self) -> None:
        self.count = 0
        self.in_header = True
        self._tail = b"\n"  # the message begins with the start of a line

    def feed(self, piece: bytes) -> None:
        """Look at the next piece."""
        if not self.in_header:
            return
        window = self._tail + piece
        ends = [end for end in map(window.find, _END_OF_HEADER) if end >= 0]
        if ends:
            self.in_header = False
            window = window[: min(ends)]
        self.count += window.lower().count(_RECEIVED)
        self._tail = window[1 - len(_RECEIVED) :]  # too short to hold a field name that was counted


class NewlineNormalizer:
    """Makes every line end CRLF, whether it was CRLF, a bare CR or a bare LF."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """The next piece as it is to be sent; a CR at its end waits for what follows."""
        if self._held:
            piece = self._held + piece
        self._held = b""
        if piece.endswith(b"\r"):
            self._held = b"\r"
            piece = piece[:-1]
        if not piece.endswith(b"\r") and _is_paired(piece):
            return piece
        return piece.replace(CRLF, b"\n").replace(b"\r", b"\n").replace(b"\n", CRLF)

    def finish(self) -> bytes:
        """What was still held back: nothing, or the line end that a last CR is."""
        held, self._held = self._held, b""
        return CRLF if held else b""


class DotStuffer:
    """Makes content transparent for DATA (RFC 5321 section 4.5.2). Takes content with CRLF as its only line end."""

    def __init__(self) -> None:
        self._tail = CRLF  # the first line begins like one after a line end

    def feed(self, piece: bytes) -> bytes:
        """The next piece with a dot in front of each line that begins with one."""
        if not piece:
            return b""
        stuffed = piece.replace(b"\r\n.", b"\r\n..")
        # The two pieces may share the line end, or the dot may be the first byte of this one.
        if self._tail == CRLF and piece.startswith(b"."):
            stuffed = b"." + stuffed
        elif self._tail.endswith(b"\r") and piece.startswith(b"\n."):
            stuffed = b"\n." + stuffed[1:]
        self._tail = (self._tail + piece[-2:])[-2:]
        return stuffed

    def finish(self) -> bytes:
        """What ends the content: a line end if the last line has none, and the dot."""
        missing = b"" if self._tail == CRLF else CRLF
        self._tail = CRLF
        return missing + DOT
