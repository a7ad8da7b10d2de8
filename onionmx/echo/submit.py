"""Handing a message to the local MTA, as a user's program does."""

import smtplib
import subprocess
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP, default

from onionmx.errors import TemporaryError
from onionmx.text import printable_ascii

SENDMAIL = "/usr/sbin/sendmail"
"""Every MTA has a program there, or a link to it."""
TIMEOUT = 60.0
"""Seconds for the MTA to take a message."""
_HELLO = "localhost"

Submit = Callable[[str | None, str, EmailMessage], None]
"""Hands over a message: envelope sender (empty for the null one, `None` for the MTA to choose), recipient, message."""


class SubmitError(TemporaryError):
    """The local MTA did not take the message."""


def by_sendmail(program: str = SENDMAIL) -> Submit:
    """Hand messages over by a program that has the options of sendmail; no shell sees them."""

    def submit(sender: str | None, recipient: str, message: EmailMessage) -> None:
        envelope = [] if sender is None else ["-f", sender]
        command = [program, "-oi", *envelope, "--", recipient]
        try:
            done = subprocess.run(  # noqa: S603 -- no shell; the address has no blank and no dash before it
                command, input=message.as_bytes(policy=default), capture_output=True, timeout=TIMEOUT, check=False
            )
        except OSError as error:
            raise SubmitError(f"{program} cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise SubmitError(f"{program} did not take the message within {TIMEOUT:.0f} s") from error
        if done.returncode:
            words = printable_ascii((done.stderr or done.stdout).decode(errors="replace").strip())
            raise SubmitError(f"{program} ended with {done.returncode}: {words or 'it did not say why'}")

    return submit


def by_smtp(host: str, port: int) -> Submit:
    """Hand messages over by SMTP, to an MTA that takes mail from this host without a password."""

    def submit(sender: str | None, recipient: str, message: EmailMessage) -> None:
        try:
            with smtplib.SMTP(host, port, local_hostname=_HELLO, timeout=TIMEOUT) as session:
                session.sendmail(sender or "", [recipient], message.as_bytes(policy=SMTP))
        except (OSError, smtplib.SMTPException) as error:
            raise SubmitError(
                f"{host} port {port} did not take the message: {printable_ascii(_words(error))}"
            ) from error

    return submit


def _words(error: OSError | smtplib.SMTPException) -> str:
    match error:
        case smtplib.SMTPRecipientsRefused(recipients=refused):
            code, text = next(iter(refused.values()))
            return f"{code} {text.decode(errors='replace')}"
        case smtplib.SMTPResponseException(smtp_code=code, smtp_error=text):
            return f"{code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"
    return str(error)
