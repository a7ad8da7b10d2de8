"""OpenSMTPD's smtpd.conf as text (smtpd.conf(5)): its statements, and the ports that listeners take; no I/O."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from onionmx.errors import ConfigurationError

_TOKEN = re.compile(
    r"""(?P<gap>(?:[ \t\r\f\v]|\\\n)+)
    | (?P<comment>\#(?:\\\n|[^\n])*)
    | (?P<end>\n)
    | (?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | (?P<table><\s*[^\s<>"']+\s*>)
    | (?P<mark>[{}(),!=<>])
    | (?P<word>(?:\\\n|[^\s"'{}(),!=<>\#])+)""",
    re.VERBOSE | re.DOTALL,
)
_EVERYWHERE = str(IPv4Address(0))
_PORTS = {"smtp": 25, "submission": 587, "smtps": 465, "submissions": 465}
_SMTP, _SMTPS = 25, 465


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement.

    Attributes:
        first: number of its first line, from 0.
        words: quoted ones with their quotes, `<table>` as one, each other mark by itself.
    """

    first: int
    words: tuple[str, ...]

    def unquoted(self, number: int) -> str:
        """One of its words, by number, without quotes; empty where it has fewer."""
        return self.words[number].strip("\"'") if number < len(self.words) else ""


def statements(text: str, name: str) -> list[Statement]:
    """All statements: a line each, or several where a brace or a backslash keeps it open.

    Args:
        name: of the file, for the message.

    Raises:
        ConfigurationError: a quote has no end.
    """
    result: list[Statement] = []
    words: list[str] = []
    first = line = depth = 0
    for kind, token in _tokens(text, name):
        if kind not in ("gap", "comment", "end"):
            first = first if words else line
            words.append(token.replace("\\\n", ""))
            depth += {"{": 1, "}": -1}.get(token, 0)
        elif kind == "end" and words and depth <= 0:
            result.append(Statement(first, tuple(words)))
            words, depth = [], 0
        line += token.count("\n")
    return [*result, Statement(first, tuple(words))] if words else result


def _tokens(text: str, name: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            line = text.count("\n", 0, position) + 1
            raise ConfigurationError(f"{name}, line {line}: a quote without its end, or a backslash alone")
        yield match.lastgroup or "", match[0]
        position = match.end()


def listener(statement: Statement) -> tuple[str, int] | None:
    """Where a listener listens: address, interface or name, and port (0 for one that is not known).

    `None` for another statement, and for the socket of local programs.
    """
    if statement.words[:2] != ("listen", "on") or statement.unquoted(2) in ("", "socket"):
        return None
    return statement.unquoted(2), _port(statement)


def _port(statement: Statement) -> int:
    options = statement.words[3:]
    if "port" in options:
        port = statement.unquoted(3 + options.index("port") + 1)
        return int(port) if port.isascii() and port.isdigit() else _PORTS.get(port, 0)
    return _SMTPS if "smtps" in options and "tls" not in options else _SMTP


def takes(found: Sequence[Statement], port: int) -> bool:
    """Whether a listener takes a port of all IPv4 addresses: smtpd ends where one of them is named beside it."""
    return (_EVERYWHERE, port) in map(listener, found)
