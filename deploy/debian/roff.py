"""Text for man pages, in the man macros of groff (groff_man(7))."""

import re

SPECIAL = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
CODE = re.compile(r"`([^`\n]+)`")


def escape(text: str) -> str:
    """Text that groff prints as it is, on one line."""
    words = " ".join(text.split())
    return "".join(SPECIAL.get(each) or (each if each.isascii() else f"\\[u{ord(each):04X}]") for each in words)


def paragraph(text: str) -> str:
    """A line of text in which `code` is bold, and which is never taken for a request."""
    parts = CODE.split(text)
    line = "".join(
        rf"\fB{escape(part)}\fP" if number % 2 else _inner(part) for number, part in enumerate(parts)
    ).strip()
    return rf"\&{line}" if line.startswith(".") else line


def _inner(part: str) -> str:
    """Escaped, with the blanks at its ends kept as one."""
    if not part.strip():
        return " " if part else ""
    return f"{' ' if part[0].isspace() else ''}{escape(part)}{' ' if part[-1].isspace() else ''}"


def heading(name: str, section: int, date: str, version: str) -> str:
    """The title of a page."""
    return f'.TH "{escape(name.upper())}" "{section}" "{date}" "onionmx {escape(version)}" "onionmx"\n'


def section(title: str, *bodies: str) -> str:
    """A section, or nothing where it has no body."""
    body = "".join(bodies)
    return f'.SH "{escape(title)}"\n{body}' if body else ""


def subsection(title: str, body: str) -> str:
    """A part of a section."""
    return f'.SS "{escape(title)}"\n{body}'


def prose(text: str) -> str:
    r"""Paragraphs, which blank lines part; one that begins with `\b` keeps its lines, as click has it."""
    done = []
    for block in re.split(r"\n\s*\n", text.strip()):
        if block.startswith("\b"):
            lines = "\n".join(paragraph(line) for line in block.splitlines()[1:])
            done.append(f".PP\n.nf\n{lines}\n.fi\n")
        elif block:
            done.append(f".PP\n{paragraph(block)}\n")
    return "".join(done)


def item(term: str, text: str) -> str:
    """A term in bold and what it means."""
    return f".TP\n\\fB{escape(term)}\\fP\n{paragraph(text)}\n"
