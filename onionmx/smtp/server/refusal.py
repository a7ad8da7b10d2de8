"""How a command ends early: refused, or with the end of the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onionmx.smtp.reply import OurReply, Reply


class RefusedError(Exception):
    """A command is refused; the session goes on.

    Args:
        text: another text for it. What is not ASCII is escaped: only a client that has said SMTPUTF8 may be answered
            with more (RFC 6531 section 3.7.4).
    """

    def __init__(self, own: OurReply, text: str = "") -> None:
        super().__init__(own, text)
        ascii_text = text.encode("ascii", "backslashreplace").decode("ascii")
        self.reply: Reply = own.value.with_text(ascii_text) if text else own.value


class HangUpError(Exception):
    """The session ends.

    Args:
        reply: the last one; none if nobody is there to read it.
    """

    def __init__(self, reply: Reply | None = None) -> None:
        super().__init__(reply)
        self.reply = reply
