"""Postfix transport tables: `domain smtptor:[onion]:port`, `domain retry:4.4.3 reason` (transport(5), error(8))."""

import re
from collections.abc import Iterator

import idna

from onionmx.defaults import TRANSPORT_NAME
from onionmx.domain import Domain, normalize, shown
from onionmx.errors import DomainError, OnionError
from onionmx.mapfile.cdb import DEFERS, DEFERS_WHY
from onionmx.mapfile.entries import Entries, Parsed
from onionmx.mapfile.lines import FirstLines, Line, Problem, read_lines
from onionmx.onion import SUFFIX, Endpoint, parse_endpoint

UNDER_ONION = (".onion", "onion")
"""Keys that keep all names under .onion from the open DNS, in the map or not (RFC 7686 section 2).

Postfix looks for a parent by its name with a dot in front, or without one where transport_maps is among
parent_domain_matches_subdomains (transport(5)).
"""
RETRY = "retry:4.4.3"
"""The right-hand side for `DEFERS`, before the reason: Postfix keeps the mail. Every master.cf has the service."""
# transport ":" nexthop; the community's tables write the port behind the brackets or inside them.
_RESULT = re.compile(r"(?P<transport>[A-Za-z0-9_-]*):\[?(?P<host>[^\[\]:]+)(?::(?P<inner>\d+))?\]?(?::(?P<outer>\d+))?")

_IS_KEY = re.compile(r"[^\[\]:]+")  # without what only a route has


def parse_transport(file: str, content: bytes) -> Parsed:
    """Read the lines of a transport table that lead to onions; all others are reported as ignored.

    Args:
        file: name of the file, for the problems.
        content: the source text of the table.
    """
    problems: list[Problem] = []
    ignored: list[Problem] = []
    entries: dict[str, tuple[Endpoint, ...]] = {}
    first_lines = FirstLines(file, problems)
    for line in read_lines(file, _logical_lines(content), problems):
        if SUFFIX in line.words[0].lower() and not _IS_KEY.fullmatch(line.words[0]):
            message = f"{shown(line.words[0])} is a route without a domain: a line that goes on begins with a space"
            problems.append(Problem(file, line.number, message))
            continue
        is_deferring = line.words[1:2] == (RETRY,)
        if not is_deferring and not any(SUFFIX in word.lower() for word in line.words[1:]):
            if line.words[0].lower() not in UNDER_ONION:
                ignored.append(Problem(file, line.number, f"{shown(' '.join(line.words))} does not lead to an onion"))
            continue
        try:
            domain = normalize(line.words[0])
            endpoints = DEFERS if is_deferring else _parse_results(line)
        except (DomainError, OnionError) as error:
            problems.append(Problem(file, line.number, str(error)))
            continue
        if first_lines.add(domain, line.number):
            entries[domain] = endpoints
    return Parsed(entries, tuple(problems), tuple(ignored))


def format_result(endpoints: tuple[Endpoint, ...], transport: str = TRANSPORT_NAME) -> str:
    """Write the right-hand side of a transport table; several targets need Postfix 3.5 (transport(5), "nexthop")."""
    if endpoints == DEFERS:
        return f"{RETRY} {DEFERS_WHY}"
    return f"{transport}:" + ", ".join(f"[{onion}]:{port}" for onion, port in endpoints)


def format_transport(entries: Entries, transport: str = TRANSPORT_NAME) -> str:
    """Write a transport table as source text for postmap; other names under .onion go to the same transport."""
    lines = [f"{domain} {format_result(endpoints, transport)}\n" for domain, endpoints in entries.items()]
    return "".join([*lines, *(f"{key} {transport}:\n" for key in UNDER_ONION if key not in entries)])


def transport_records(entries: Entries, transport: str, result: str) -> Iterator[tuple[bytes, bytes]]:
    """The records of a CDB for Postfix.

    Postfix looks an internationalized domain up as the client wrote it, with its case folded, so such a domain has two
    keys: without the one of U-labels its mail would take the open internet. See `folded_to` for those that have one.

    Args:
        entries: domains and their endpoints.
        transport: name of the transport where the endpoints are the result.
        result: what to say of each domain with endpoints; empty to say the endpoints.
    """
    for key in UNDER_ONION:
        if key not in entries:
            yield key.encode("ascii"), (result or f"{transport}:").encode()
    for domain, endpoints in entries.items():
        is_given = bool(result) and endpoints != DEFERS
        value = (result if is_given else format_result(endpoints, transport)).encode()
        for key in keys_of(domain):
            yield key.encode(), value


def keys_of(domain: Domain) -> tuple[str, ...]:
    """The keys by which Postfix finds a domain: with A-labels, and with U-labels where it has some."""
    with_u_labels = _with_u_labels(domain)
    return (domain,) if with_u_labels == domain or folded_to(domain) else (domain, with_u_labels)


def folded_to(domain: Domain) -> str:
    """What Postfix looks up instead of the Unicode form of a domain, where that is another domain's name.

    Postfix folds the case of a key (Unicode, section 3.13, "toCasefold"), which makes `strasse` of `straße` and a final
    sigma a common one. A table cannot have such a key: it would route the other domain's mail.

    Returns:
        The other name; empty where there is no such trouble.
    """
    with_u_labels = _with_u_labels(domain)
    folded = with_u_labels.casefold()
    return folded if folded != with_u_labels else ""


def _with_u_labels(domain: str) -> str:
    if "xn--" not in domain:
        return domain
    try:
        return idna.decode(domain)
    except idna.IDNAError:
        return domain  # an A-label that IDNA 2008 does not know has no other form


def _logical_lines(content: bytes) -> bytes:
    """The same with each logical line as one, in the place where it began (postmap(1), "TABLE FORMAT").

    A line that starts with white space goes on with the one before. Blank lines and comments between them end nothing.
    """
    lines = content.split(b"\n")
    begun: int | None = None
    for number, line in enumerate(lines):
        text = line.partition(b"#")[0].rstrip()
        if not text.strip():
            lines[number] = b""
        elif begun is None or not text[:1].isspace():
            begun = number
            lines[number] = text
        else:
            lines[begun] += b" " + text.strip()
            lines[number] = b""
    return b"\n".join(lines)


def _parse_results(line: Line) -> tuple[Endpoint, ...]:
    """Read `transport:nexthop[, nexthop...]`."""
    results = " ".join(line.words[1:]).replace(",", " ").split()
    return tuple(
        _parse_result(result if ":[" in result or index == 0 else f":{result}") for index, result in enumerate(results)
    )


def _parse_result(result: str) -> Endpoint:
    match = _RESULT.fullmatch(result)
    if match is None or (match["inner"] and match["outer"]):
        raise OnionError(f"{shown(result)} is not a route to an onion: expected {TRANSPORT_NAME}:[onion]:port")
    port = match["inner"] or match["outer"]
    return parse_endpoint(match["host"] + (f":{port}" if port else ""))
