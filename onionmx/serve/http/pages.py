"""What the daemon shows by HTTP.

| request | answer |
|---|---|
| `GET /` | the status of this host as a web page, `onionmx.serve.page` |
| `GET /metrics` | for Prometheus; `onionmx.serve.metrics` lists them |
| `GET /healthz` | files, resolver and tor, each with what was seen, as JSON: 200, or 503 where one does not work |
| `GET /routes/DOMAIN` | as `onionmx lookup --json`: 200 found or no route, 503 could not tell, 400 not a domain |

On TCP the page has counts and states only. On a unix socket it has domains and onions too.

`ttl`, `stale` and `notes` of a route are left out, as any local user could tell by them when this host wrote to whom.
The control socket shows them, and has also

| request | answer |
|---|---|
| `GET /cache` | all entries of the cache as JSON |
| `GET /cache/stats` | its counters as JSON |
| `DELETE /cache/DOMAIN` | forget a domain: `{"purged": true}`, or `false` where there was nothing to forget |

`HEAD` goes wherever `GET` does.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from onionmx.answer import Answer, CouldNotTell, Found
from onionmx.domain import normalize, shown
from onionmx.errors import DomainError
from onionmx.routing.shown import shown_answer
from onionmx.serve.answers import Routes
from onionmx.serve.http.connection import Response
from onionmx.serve.http.health import Health
from onionmx.serve.metrics import LookupMetrics, Tally
from onionmx.serve.protocols.codec import LookupResult

READ = ("GET", "HEAD")
_TELL_WHEN = frozenset({"ttl", "stale", "notes"})


class Pages:
    """Answers of the HTTP port.

    Args:
        health: what is looked at.
        tally: counts what is asked here.
        status: answers for the status page by path; `None` for another one.
    """

    def __init__(
        self,
        routes: Routes,
        metrics: LookupMetrics,
        health: Health,
        tally: Tally,
        status: Callable[[str], Awaitable[Response | None]],
    ) -> None:
        self._status = status
        self._health = health
        self._routes = routes
        self._tally = tally
        self._registry = CollectorRegistry()
        self._registry.register(metrics)

    async def respond(self, method: str, target: str) -> Response:
        """Answer a request.

        Args:
            target: path and query; there is none that has a meaning.
        """
        path = target.partition("?")[0]
        return await self._respond(method, path) or Response.plain(HTTPStatus.NOT_FOUND, "there is no such page")

    async def _respond(self, method: str, path: str) -> Response | None:
        if (shown := await self._status(path)) is not None:
            return shown if method in READ else refused(READ)
        page, _, domain = path.removeprefix("/").partition("/")
        if page not in {"metrics", "healthz", "routes"} or bool(domain) != (page == "routes"):
            return None
        if method not in READ:
            return refused(READ)
        if page == "metrics":
            return metrics_page(REGISTRY, self._registry)
        return await (health_page(self._health) if page == "healthz" else self._route(domain))

    async def _route(self, written: str) -> Response:
        try:
            domain = domain_in(written)
        except DomainError as error:
            return Response.plain(HTTPStatus.BAD_REQUEST, str(error))
        answer: Answer
        try:
            async with asyncio.timeout(self._routes.timeout):
                answer = await self._routes.router.route(domain)
        except TimeoutError:
            answer = CouldNotTell(domain, f"no answer within {self._routes.timeout:g} s")
            self._tally.count(LookupResult.TIMEOUT)
        else:
            self._tally.count(_outcome(answer))
        could_not_tell = isinstance(answer, CouldNotTell)
        status = HTTPStatus.SERVICE_UNAVAILABLE if could_not_tell else HTTPStatus.OK
        return as_json(status, self._shown(answer))

    def _shown(self, answer: Answer) -> dict[str, Any]:
        """Without what tells when this host asked for the domain before: any local user may be asking."""
        return {name: value for name, value in shown_answer(answer).items() if name not in _TELL_WHEN}


async def health_page(health: Health) -> Response:
    """What was seen of each part: 200 where all of them work, else 503."""
    parts = await health.parts()
    healthy = all(part.ok for part in parts.values())
    status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
    return as_json(status, {"healthy": healthy, "parts": parts})


def metrics_page(*registries: CollectorRegistry) -> Response:
    """The metrics of these, in Prometheus' text format."""
    return Response(HTTPStatus.OK, b"".join(map(generate_latest, registries)), CONTENT_TYPE_LATEST)


class ControlPages(Pages):
    """Answers of the control socket."""

    async def _respond(self, method: str, path: str) -> Response | None:
        router = self._routes.router
        if path == "/cache":
            if method not in READ:
                return refused(READ)
            entries = [
                {"remaining": round(entry.remaining), "used": entry.used, **shown_answer(entry.answer)}
                for entry in router.entries()
            ]
            return as_json(HTTPStatus.OK, entries)
        if path == "/cache/stats":
            return as_json(HTTPStatus.OK, dataclasses.asdict(router.stats())) if method in READ else refused(READ)
        if path.startswith("/cache/"):
            return self._purge(path.removeprefix("/cache/")) if method == "DELETE" else refused(("DELETE",))
        return await super()._respond(method, path)

    def _shown(self, answer: Answer) -> dict[str, Any]:
        """All of it: only who runs the daemon gets there."""
        return shown_answer(answer)

    def _purge(self, written: str) -> Response:
        try:
            domain = domain_in(written)
        except DomainError as error:
            return Response.plain(HTTPStatus.BAD_REQUEST, str(error))
        return as_json(HTTPStatus.OK, {"domain": domain, "purged": self._routes.router.purge(domain)})


def domain_in(written: str) -> str:
    """The domain in a path.

    Args:
        written: percent-encoded UTF-8.

    Raises:
        DomainError: not a domain.
    """
    try:
        return normalize(unquote_to_bytes(written).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DomainError(f"{shown(written)} is not UTF-8") from error


def as_json(status: HTTPStatus, value: Any) -> Response:  # noqa: ANN401 -- anything that JSON can hold
    """A response with indented JSON."""
    body = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    return Response(status, body, "application/json")


def refused(methods: tuple[str, ...]) -> Response:
    """405, with the methods that would do."""
    allow = ", ".join(methods)
    return Response.plain(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {allow}", allow)


def _outcome(answer: Answer) -> LookupResult:
    if isinstance(answer, Found):
        return LookupResult.FOUND
    return LookupResult.TEMPORARY if isinstance(answer, CouldNotTell) else LookupResult.NONE
