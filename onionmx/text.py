"""Text of strangers, as it may be shown on a terminal, in a log and in a reply. Of the leaves: imports nothing."""

MAX_REASON = 500
"""Characters of a reason in a reply; Postfix writes it to its log."""


def escaped(text: str) -> str:
    r"""The text on one line, in the order in which it is there.

    What `str.isprintable` does not allow is written as in Python: control characters and line ends (`\x1b`, `\n`), what
    turns the direction of the text or is not seen at all (Cf: U+202E as `\u202e`, tag characters), line and paragraph
    separators, surrogates, private and unassigned characters, and blanks other than the usual one.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def printable_ascii(text: str) -> str:
    """A reason as ASCII without control characters, at most `MAX_REASON` characters of it."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(one if " " <= one <= "~" else ascii(one)[1:-1] for one in text[:MAX_REASON])
    return text[:MAX_REASON]
