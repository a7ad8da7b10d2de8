"""A self-test from beginning to end."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from onionmx.clock import Clock, Timestamp
from onionmx.echo.message import new_token
from onionmx.echo.path import Way
from onionmx.echo.submit import Submit
from onionmx.errors import EXIT_CLEARNET, EXIT_FOUND, EXIT_TEMPORARY
from onionmx.selftest.mailbox import Mailbox
from onionmx.selftest.message import compose
from onionmx.selftest.reply import Answered, Returned, Unreadable, classify

INTERVAL = 0.5
"""Seconds between two looks at the mailbox."""
_EXIT_CODES = {Way.ONION: EXIT_FOUND, Way.CLEARNET: EXIT_CLEARNET, Way.UNKNOWN: EXIT_TEMPORARY}


class SelftestResult(Struct, frozen=True):
    """What came of it.

    Attributes:
        sent: when the message was handed to the MTA.
        seconds: until the answer was there, or the wait was given up.
        answer: `None` where none came.
        why: there is none, in words.
        file: of the answer, where it has one for itself.
    """

    token: str
    sent: Timestamp
    seconds: float
    answer: Answered | None = None
    why: str = ""
    file: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 over the onion, 3 over the clearnet, 75 for no answer, or one that does not show the way."""
        return _EXIT_CODES[self.answer.report.path.way] if self.answer else EXIT_TEMPORARY


def selftest(  # noqa: PLR0913 -- the message, and how it goes and comes
    recipient: str,
    sender: str | None,
    submit: Submit,
    mailboxes: Sequence[Mailbox],
    timeout: float,
    *,
    now: Clock = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> SelftestResult:
    """Send a message and wait for its answer.

    Args:
        sender: where the answer goes; `None` lets the MTA choose it.
        mailboxes: where the answer is looked for, opened before.
        timeout: seconds to wait.

    Raises:
        SubmitError: the MTA did not take the message.
        MailboxError: a mailbox cannot be read.
    """
    token, sent = new_token(), now()
    submit(sender, recipient, compose(token, recipient, sender, sent))
    why = "there is no answer in the mailbox"
    while True:
        for file, reply in _replies(mailboxes, token):
            seconds = now() - sent
            match reply:
                case Answered():
                    return SelftestResult(token, sent, seconds, reply, file=file)
                case Returned(reason):
                    return SelftestResult(token, sent, seconds, why=f"the message came back undelivered: {reason}")
                case Unreadable(reason):
                    why = f"an answer came, and cannot be read: {reason}"
        seconds = now() - sent
        if seconds >= timeout:
            return SelftestResult(token, sent, seconds, why=f"{why} after {timeout:g} s")
        sleep(min(INTERVAL, timeout - seconds))


def _replies(
    mailboxes: Sequence[Mailbox], token: str
) -> Iterator[tuple[Path | None, Answered | Returned | Unreadable]]:
    for mailbox in mailboxes:
        for file, content in mailbox.arrived():
            reply = classify(content, token)
            if reply is not None:
                yield file, reply
