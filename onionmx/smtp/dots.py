"""The content of DATA without its dot-stuffing (RFC 5321 section 4.5.2), as it streams in."""

from __future__ import annotations

_END = b"\r\n.\r\n"
# Longest first: what is kept back until it is clear whether it begins the end.
_BEGINNINGS = tuple(_END[:length] for length in range(len(_END) - 1, 0, -1))


class DotDecoder:
    """Finds the end of DATA and takes the stuffed dots out.

    Only CRLF "." CRLF ends the content, nor does a dot after a bare CR or LF count as one at the beginning of a line:
    what one server takes for the end and the next does not is how a message smuggles another (CVE-2023-51764).

    Attributes:
        ended: the end was seen.
    """

    def __init__(self) -> None:
        self.ended = False
        self._kept = b"\r\n"  # DATA's own line end: a dot in the first line is at the beginning of a line
        self._is_first = True

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Decode more octets.

        Args:
            data: what follows the last call's; not to be called once `ended`.

        Returns:
            Content, possibly empty, and what follows the end of the content, empty before it.
        """
        data = self._kept + data
        end = data.find(_END)
        if end >= 0:
            self.ended = True
            content, rest = data[: end + 2], data[end + len(_END) :]
        else:
            self._kept = next((beginning for beginning in _BEGINNINGS if data.endswith(beginning)), b"")
            content, rest = data[: len(data) - len(self._kept)], b""
        # Before the end no line is a lone dot, so each dot at the beginning of a line was stuffed.
        content = content.replace(b"\r\n.", b"\r\n")
        if self._is_first and content:
            self._is_first = False
            content = content[2:]
        return content, rest
