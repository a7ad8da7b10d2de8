"""The header of a message as its fields, byte for byte (RFC 5322 section 2.2); no I/O."""

import re
from typing import NamedTuple

from onionmx.errors import InputError
from onionmx.smtp.content import CRLF

MOST_FIELDS = 10_000
"""A header with more is not looked at: mail has up to some hundred, and more would hold up other messages."""
_EMPTY_LINE = b"\r\n\r\n"
# A name of printable US-ASCII, and folded lines. Of the obsolete forms (RFC 5322 section 4.5) those are not taken that
# programs read in two ways: blanks behind the name, and a folded line of blanks only, which may end the header.
_FIELD = re.compile(rb"([!-9;-~]+):[^\r\n]*\r\n(?:[ \t]+[^ \t\r\n][^\r\n]*\r\n)*")
_FOLD = re.compile(rb"\r\n(?=[ \t])")


class Field(NamedTuple):
    """One field.

    Attributes:
        name: in lower case.
        raw: all its bytes, folded lines and line ends included.
    """

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """What is behind the colon, unfolded (RFC 5322 section 2.2.3)."""
        return _FOLD.sub(b"", self.raw.partition(b":")[2]).strip(b" \t\r\n")


def split_header(content: bytes) -> tuple[bytes, bytes]:
    """The header with the line end of its last field, and all behind it, beginning with the empty line.

    Args:
        content: a message, or as much of it as holds the header; lines end in CRLF.
    """
    if content.startswith(CRLF):
        return b"", content
    end = content.find(_EMPTY_LINE)
    if end < 0:
        return content, b""  # a message without a body, RFC 5322 section 3.5
    end += len(CRLF)
    return content[:end], content[end:]


def parse_header(header: bytes) -> list[Field]:
    """The fields in their order; put together again, their bytes are the header.

    Args:
        header: without the empty line that ends it.

    Raises:
        InputError: a line is neither a field nor the folded part of one, or there are too many.
    """
    fields: list[Field] = []
    position = 0
    while position < len(header):
        found = _FIELD.match(header, position)
        if found is None:
            line = header.count(b"\n", 0, position) + 1
            raise InputError(f"line {line} of the header begins no field")
        if len(fields) == MOST_FIELDS:
            raise InputError(f"its header has more than {MOST_FIELDS} fields")
        fields.append(Field(found[1].lower(), found[0]))
        position = found.end()
    return fields
