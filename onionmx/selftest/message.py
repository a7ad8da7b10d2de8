"""The message of a self-test; no I/O."""

from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from onionmx.clock import Timestamp
from onionmx.echo.message import REQUEST_FIELD, domain_of
from onionmx.errors import InputError

_TEXT = """\
This is a message of onionmx selftest. An echo (onionmx echo) answers it
with what it saw; anybody else may throw it away.
"""


def check_address(address: str) -> str:
    """Check an address for the envelope.

    Raises:
        InputError: not an ASCII address with a domain.
    """
    if domain_of(address) is None:
        raise InputError(f"{address!r} is not an address that can be tested with: expected NAME@DOMAIN")
    return address


def compose(token: str, recipient: str, sender: str | None, now: Timestamp) -> EmailMessage:
    """The message.

    Args:
        sender: `None` where the MTA is to choose it: it then adds From, too.
    """
    message = EmailMessage()
    if sender is not None:
        message["From"] = sender
        message["Message-ID"] = make_msgid(domain=domain_of(sender))
    message["To"] = recipient
    message["Subject"] = "onionmx selftest"
    message["Date"] = format_datetime(datetime.fromtimestamp(int(now), UTC))
    message[REQUEST_FIELD] = token
    message.set_content(_TEXT)
    return message
