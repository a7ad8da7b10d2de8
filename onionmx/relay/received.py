"""The Received header that the relay adds (RFC 5321 section 4.4).

It says nothing about the client: that would tell the receiver, and who reads the mail there, from where it comes.
"""

from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

COMMENT = "onionmx"
"""The comment behind the name of the host, by which others know the field as the relay's."""


def received_header(hostname: str, protocol: str, identifier: str, when: datetime) -> bytes:
    """The header with its CRLF.

    Args:
        protocol: how the message came, such as `LMTP` (RFC 3848).
        identifier: of the delivery, the one in the log.
        when: aware of its time zone.
    """
    by = f"by {hostname} ({COMMENT}) with {protocol} id {identifier};"
    return f"Received: {by}\r\n\t{_written(when.replace(microsecond=0))}\r\n".encode()


@lru_cache(maxsize=1)
def _written(when: datetime) -> str:
    """A busy relay makes hundreds of headers in the same second."""
    return format_datetime(when)
