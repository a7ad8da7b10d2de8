"""What a peer said, as it may be shown on a terminal and in a log."""

from onionmx.smtp.reply import Reply

_ANY = Reply(200)


def printable(text: str) -> str:
    """Text on one line, without control characters and at most `MAX_TEXT_LENGTH` characters: see `Reply.because`."""
    return _ANY.with_text(text).lines[0]


def printable_reply(reply: Reply) -> str:
    """Codes and text of a reply, like `printable`."""
    return str(reply.with_text(reply.text))
