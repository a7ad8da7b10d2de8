"""An MTA that hands messages to the relay by LMTP, and hears a reply for each recipient."""

import re
import smtplib
from collections.abc import Sequence
from dataclasses import dataclass

from tests.e2e.socks import Address

TIMEOUT = 300.0
"""Seconds for which it waits for a reply."""
GO_ON = 354


@dataclass(frozen=True)
class Reply:
    """What was said of one recipient."""

    code: int
    text: str

    @property
    def is_positive(self) -> bool:
        """Whether the message was taken for it."""
        return self.code // 100 == 2

    @property
    def is_transient(self) -> bool:
        """Whether it is to be tried again."""
        return self.code // 100 == 4


class Handover(smtplib.LMTP):
    """A session with the relay."""

    def __init__(self, relay: Address) -> None:
        super().__init__(*relay, local_hostname="mta.sender.example", timeout=TIMEOUT)
        self.ehlo()

    def hand_over(
        self,
        sender: str,
        recipients: Sequence[str],
        message: bytes,
        options: Sequence[str] = (),
        of_recipients: Sequence[str] = (),
    ) -> list[Reply]:
        """Hand over one message; return the reply for each recipient, in their order.

        Args:
            sender: empty for the null reverse-path.
            message: with CRLF.
            options: of MAIL.
            of_recipients: of RCPT, each of them.
        """
        begun = _read(self.mail(sender, options))
        if not begun.is_positive:
            return [begun] * len(recipients)
        replies = [_read(self.rcpt(recipient, of_recipients)) for recipient in recipients]
        asked = _read(self.docmd("DATA"))
        if asked.code != GO_ON:
            self.rset()
            return [asked if reply.is_positive else reply for reply in replies]
        self.send(re.sub(rb"(?m)^\.", b"..", message) + b".\r\n")
        return [_read(self.getreply()) if reply.is_positive else reply for reply in replies]


def _read(answer: tuple[int, bytes]) -> Reply:
    return Reply(answer[0], answer[1].decode("utf-8", "replace"))
