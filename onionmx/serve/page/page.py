"""The status page as HTML, made of the status by a template that escapes all it is given."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import jinja2

from onionmx.clock import Timestamp
from onionmx.defaults import DAY, HOUR, MINUTE
from onionmx.serve.http.connection import Response
from onionmx.serve.page.gather import StatusSource
from onionmx.serve.page.graph import HEIGHT, WIDTH, graph_of
from onionmx.status.model import FailureKind, Status
from onionmx.text import escaped

POLICY = "default-src 'none'; style-src 'self'"
"""Content-Security-Policy: nothing but our own style sheet is loaded, and nothing is run."""
STYLE = "/status.css"
MOST = 100
"""Destinations that are named; of the others there is the number."""

_FOLDER = Path(__file__).parent
_HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
)
_KINDS = {
    FailureKind.NOT_PUBLISHED: "not published",
    FailureKind.UNREACHABLE: "not reached over tor",
    FailureKind.REFUSED: "nothing listens",
    FailureKind.AUTHORIZATION: "tor lacks the client authorization",
    FailureKind.BAD_ADDRESS: "not the address of an onion service",
    FailureKind.NO_SESSION: "no session comes about",
    FailureKind.BROKE_OFF: "sessions break off",
    FailureKind.NOT_PROVEN: "the demands of the domain are not met",
    FailureKind.OTHER: "other",
}
_STEPS = ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1.0, "second"))


class StatusPage:
    """Answers for the page and its style sheet.

    Args:
        source: what is shown.
        max_age: seconds after which a map that no sync has looked at is too old.
    """

    def __init__(self, source: StatusSource, max_age: float) -> None:
        self._source = source
        self.max_age = max_age
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"shown": escaped, "moment": moment, "span": span, "share": share}
        self._made: dict[bool, tuple[Status, bytes]] = {}
        self._template = environment.get_template("status.html")
        self._style = (_FOLDER / "status.css").read_bytes()

    async def respond(self, path: str, *, with_names: bool) -> Response | None:
        """The page, its style sheet, or `None` for another path.

        Args:
            with_names: show domains and onions, not only how many there are.
        """
        if path == STYLE:
            return Response(HTTPStatus.OK, self._style, "text/css; charset=utf-8", headers=_HEADERS)
        if path != "/":
            return None
        status = await self._source.status()
        made = self._made.get(with_names)
        if made is None or made[0] is not status:
            # In a thread: lookups go on while it is written.
            made = status, (await asyncio.to_thread(self.html, status, with_names=with_names)).encode()
            self._made[with_names] = made
        _, body = made
        return Response(HTTPStatus.OK, body, "text/html; charset=utf-8", headers=_HEADERS)

    def html(self, status: Status, *, with_names: bool) -> str:
        """The page."""
        failing = status.failing.destinations
        kinds = Counter(_KINDS[each.kind] for each in failing or ())
        last_run = status.map.last_run
        return self._template.render(
            status=status,
            style=STYLE,
            with_names=with_names,
            kinds=kinds.most_common(),
            kind_words=_KINDS,
            most=MOST,
            is_old=last_run is not None and status.at - last_run > self.max_age,
            graph=graph_of(status.deliveries.days),
            width=WIDTH,
            height=HEIGHT,
        )


def moment(seconds: Timestamp) -> str:
    """A time as people read it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def span(seconds: float) -> str:
    """How long, in the largest unit that fits."""
    for length, unit in _STEPS:
        if seconds >= length:
            number = int(seconds // length)
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "a moment"


def share(part: float) -> str:
    """A part from 0 to 1, in percent."""
    return f"{100 * part:.0f} %"
