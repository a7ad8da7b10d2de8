"""Received fields (RFC 5321 section 4.4), as the MTAs of this world write them; no I/O.

Exim has the name of EHLO in a comment (`helo=`), Postfix, Sendmail and OpenSMTPD have the address in one.
"""

import re
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Annotated

from msgspec import Meta, Struct

from onionmx.clock import Timestamp
from onionmx.echo.words import MAX_FIELD, Word, name, words
from onionmx.relay import received

_CLAUSES = ("from", "by", "via", "with", "id", "for")
_CLAIMED = re.compile(r"\b(?:helo|ident)=\S*")
"""Words of the client in Exim's comment; the address there is not from them."""
_HELO = re.compile(r"\bhelo=(\S+)")
_ADDRESS = re.compile(r"(?:\[(?:IPv6:)?([0-9A-Fa-f.:]+)\]|(?<![\w.:-])([0-9A-Fa-f.:]{3,45})(?![\w:-]))")
_TLS = re.compile(r"\b(TLS|SSL)v?(\d)(?:[._](\d))?", re.IGNORECASE)
_TLS_PROTOCOL = re.compile(r"(?:UTF8|E)?(?:SMTP|LMTP)SA?", re.IGNORECASE)
_LATEST = 1e10


class Hop(Struct, frozen=True):
    """What one Received field says. What it does not say is empty.

    Attributes:
        name: of the client: what it said in EHLO, or else the name that the server has for it.
        address: IP address from which the server was connected to.
        by: name of the server.
        protocol: as written behind `with` (RFC 3848).
        tls: version of TLS; "yes" where it only says that there was TLS.
        time: seconds since 1970.
        is_relay: whether `onionmx relay` wrote it: it hands mail to onions alone.
    """

    name: str = ""
    address: str = ""
    by: str = ""
    protocol: str = ""
    tls: str = ""
    time: Annotated[Timestamp, Meta(ge=0, le=_LATEST)] | None = None
    is_relay: bool = False


def parse_received(field: str) -> Hop:
    """Read a Received field; what cannot be read in it is left out."""
    found = list(words(field, ";"))
    clauses: dict[str, list[Word]] = {}
    clause: list[Word] = []
    for word in found:
        keyword = word.text.lower()
        if word.kind == "word" and keyword in _CLAUSES and keyword not in clauses:
            clause = clauses[keyword] = []
        elif word == Word("separator", ";"):
            clause = []
        else:
            clause.append(word)
    by = clauses.get("by", [])
    protocol = _first(clauses.get("with", []))
    return Hop(
        _client_name(clauses.get("from", [])),
        _client_address(clauses.get("from", [])),
        _first(by),
        protocol,
        _tls(protocol, (word.text for word in found if word.kind in {"comment", "word"})),
        _time(field),
        any(word == Word("comment", received.COMMENT) for word in by),
    )


def _first(clause: list[Word]) -> str:
    return next((name(word.text) for word in clause if word.kind == "word"), "")


def _comments(clause: list[Word]) -> str:
    return " ".join(word.text for word in clause if word.kind == "comment")


def _client_name(clause: list[Word]) -> str:
    helo = _HELO.search(_comments(clause))
    return name(helo[1]) if helo else _first(clause)


def _client_address(clause: list[Word]) -> str:
    """The address that the server saw: in the comment, or else where Exim has it, before it."""
    literals = " ".join(f"[{word.text}]" for word in clause if word.kind == "literal")
    for text in (_CLAIMED.sub("", _comments(clause)), literals):
        for bracketed, bare in _ADDRESS.findall(text):
            try:
                return str(ip_address(bracketed or bare))
            except ValueError:
                continue
    return ""


def _tls(protocol: str, texts: Iterable[str]) -> str:
    for text in texts:
        version = _TLS.search(text)
        if version:
            return f"{version[1].upper()}{version[2]}.{version[3] or 0}"
    return "yes" if _TLS_PROTOCOL.fullmatch(protocol) else ""


def _time(field: str) -> Timestamp | None:
    _, separator, date = field[:MAX_FIELD].rpartition(";")
    if not separator:
        return None
    try:
        time = parsedate_to_datetime(date.strip()).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return time if 0 <= time <= _LATEST else None
