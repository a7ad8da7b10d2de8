"""The reply codes that decide what the client does next; of all others only the first digit counts.

RFC 5321 section 4.2.1, and the RFC on the line where another one added the code.
"""

from enum import IntEnum


class Code(IntEnum):
    """A reply code by number and meaning."""

    READY = 220
    CLOSING = 421  # may come instead of any reply; the peer closes after it
    TLS_DEMANDED = 530  # RFC 3207 section 4: "Must issue a STARTTLS command first"
