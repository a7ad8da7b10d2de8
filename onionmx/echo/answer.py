"""The answer of an echo: what it says to people and to programs; no I/O.

It repeats nothing that a sender could use to write to somebody else: no subject, no text, no field as it was.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from onionmx.clock import Timestamp
from onionmx.echo.authentication import AuthenticationResults, MethodResult
from onionmx.echo.message import ANSWER_FIELD, REPORT_NAME, domain_of
from onionmx.echo.path import Path, path_of
from onionmx.echo.received import Hop
from onionmx.echo.request import Request

FORMAT = 1


class EchoReport(Struct, frozen=True):
    """What the echo saw.

    Attributes:
        format: number of this format.
        token: of the self-test.
        time: when it came to the echo.
        hops: the oldest first.
        results: of the host that the echo is on: SPF, DKIM and what else it looked at.
        tor_addresses: from where tor hands over connections to that host; `None` where the echo was not told.
    """

    format: int
    token: str
    time: Annotated[Timestamp, Meta(ge=0, le=1e10)]
    hops: tuple[Hop, ...] = ()
    results: tuple[MethodResult, ...] = ()
    tor_addresses: tuple[str, ...] | None = None

    @property
    def path(self) -> Path:
        """Which way the message came."""
        return path_of(self.hops, self.tor_addresses)


def make_report(
    request: Request, now: Timestamp, authserv_id: str, tor_addresses: tuple[str, ...] | None
) -> EchoReport:
    """The report about a message.

    Args:
        authserv_id: whose Authentication-Results are believed; empty for the name that the MTA has in Received.
    """
    own = (authserv_id or (request.hops[-1].by if request.hops else "")).lower()
    return EchoReport(FORMAT, request.token, now, request.hops, _results_of(request.results, own), tor_addresses)


def _results_of(found: Sequence[AuthenticationResults], own: str) -> tuple[MethodResult, ...]:
    return tuple(result for each in found if each.authserv_id == own for result in each.results)


def compose(request: Request, report: EchoReport, echo: str) -> EmailMessage:
    """The answer as a message (RFC 3834 section 3).

    Args:
        echo: address of the echo.
    """
    message = EmailMessage()
    message["From"] = echo
    message["To"] = request.sender
    message["Subject"] = "Answer to onionmx selftest"
    message["Date"] = format_datetime(datetime.fromtimestamp(int(report.time), UTC))
    message["Message-ID"] = make_msgid(domain=domain_of(echo))
    if request.message_id:
        message["In-Reply-To"] = request.message_id
        message["References"] = request.message_id
    message["Auto-Submitted"] = "auto-replied"
    message["X-Auto-Response-Suppress"] = "All"
    message[ANSWER_FIELD] = request.token
    path = report.path
    lines = [
        "A message of onionmx selftest has come here, from this address.",
        "",
        f"way: {path.way}: {path.reason}",
        *(_line(hop) for hop in report.hops),
        *(f"{result.method}: {result.result}" for result in report.results),
        "",
        "Nobody reads answers to this message.",
    ]
    message.set_content("\n".join(lines) + "\n")
    message.add_attachment(
        msgspec.json.encode(report), maintype="application", subtype="json", filename=REPORT_NAME, disposition="inline"
    )
    return message


def _line(hop: Hop) -> str:
    when = "" if hop.time is None else datetime.fromtimestamp(hop.time, UTC).isoformat()
    words = (f"from {hop.name} [{hop.address}]" if hop.address else "", f"by {hop.by}", hop.protocol, hop.tls, when)
    return "hop: " + " ".join(filter(None, words))
