"""All domains whose mail goes to the relay, in each format. Each is made once for what the files say, in a thread."""

import asyncio
import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass

from onionmx.batches import batched
from onionmx.routing.listing import Listed, Listing
from onionmx.routing.router import Router
from onionmx.serve.http.wishes import Format

_BATCH = 200
"""Domains after which the event loop has its turn: a million take seconds, and Python runs one thread at a time."""
_TURN = 0.0001  # seconds; less than one is a turn that the loop can miss
_PLAIN_FIELD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
_CSV_HEAD = b"domain,answer\r\n"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A list.

    Attributes:
        entity_tag: strong, with its quotes (RFC 9110 section 8.8.3).
    """

    body: bytes
    entity_tag: str


class DomainLists:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._newest: Listing | None = None
        self._made: dict[Format, asyncio.Task[Rendered]] = {}
        self._under_way: set[asyncio.Task[Rendered]] = set()

    async def get(self, router: Router, wanted: Format) -> Rendered:
        """The list as the files are now.

        Raises:
            ConfigurationError: local domains or pins have mistakes.
            MapError: the map is missing, unreadable or damaged.
        """
        listing = router.listing()
        if self._newest is None or listing.validity is not self._newest.validity:
            self._newest, self._made = listing, {}
        task = self._made.get(wanted)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._made[wanted] = asyncio.create_task(asyncio.to_thread(_render, listing, wanted))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait until the threads have ended."""
        self._made = {}
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _ended(self, task: asyncio.Task[Rendered]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # all who wait for it may have gone


def rendered_line(domain: str, answer: str, wanted: Format) -> bytes:
    """One domain as a list of its own.

    Args:
        domain: ASCII without control characters.
        answer: in words.
        wanted: list or CSV.
    """
    if wanted is Format.LIST:
        return f"{domain}\n".encode("ascii")
    field = domain if _PLAIN_FIELD.issuperset(domain) else '"{}"'.format(domain.replace('"', '""'))
    return _CSV_HEAD + f"{field},{answer}\r\n".encode("ascii")


def _render(listing: Listing, wanted: Format) -> Rendered:
    head, between, end = _FRAMES[wanted]
    pieces = [head]
    with listing.opened() as domains:
        for batch in batched(domains, _BATCH):
            if len(pieces) > 1:
                pieces.append(between)
            pieces.append(_PIECES[wanted](batch))
            time.sleep(_TURN)
    pieces.append(end)
    body = b"".join(pieces)
    return Rendered(body, f'"{hashlib.sha256(body).hexdigest()}"')


def _lines(batch: Iterable[Listed]) -> bytes:
    return b"".join([each.domain + b"\n" for each in batch])


def _csv(batch: Iterable[Listed]) -> bytes:
    return b"".join([each.domain + (b",could not tell\r\n" if each.waits else b",found\r\n") for each in batch])


def _json(batch: Iterable[Listed]) -> bytes:
    words = {False: "found", True: "could not tell"}
    return ",\n".join(
        [f'{{"domain": "{each.domain.decode()}", "answer": "{words[each.waits]}"}}' for each in batch]
    ).encode()


_PIECES = {Format.LIST: _lines, Format.CSV: _csv, Format.JSON: _json}
_FRAMES = {Format.LIST: (b"", b"", b""), Format.CSV: (_CSV_HEAD, b"", b""), Format.JSON: (b"[\n", b",\n", b"\n]\n")}
