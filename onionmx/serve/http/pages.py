"""What the daemon shows by HTTP.

| request | answer |
|---|---|
| `GET /` | the status of this host as a web page, `onionmx.serve.page` |
| `GET /metrics` | for Prometheus; `onionmx.serve.metrics` lists them |
| `GET /healthz` | files, resolver and tor, each with what was seen, as JSON: 200, or 503 where one does not work |
| `GET /domains` | the domains whose mail goes to the relay, as pins and map say: one a line, CSV or JSON |
| `GET /domains/DOMAIN` | whether the mail of one goes there, by the status; see `onionmx.serve.http.domains` |
| `GET /routes/DOMAIN` | as `onionmx lookup --json`: 200 found or no route, 503 could not tell, 400 not a domain |

On TCP the page has counts and states only. On a unix socket it has domains and onions too. `/domains` is the same on
both: it has what any local user can read in the map, and nothing of when this host wrote to whom.

`ttl`, `stale` and `notes` of a route are left out, as any local user could tell by them when this host wrote to whom.
The control socket shows them, and has also

| request | answer |
|---|---|
| `GET /cache` | all entries of the cache as JSON |
| `GET /cache/stats` | its counters as JSON |
| `DELETE /cache/DOMAIN` | forget a domain: `{"purged": true}`, or `false` where there was nothing to forget |

`HEAD` goes wherever `GET` does.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from onionmx.answer import Answer, CouldNotTell
from onionmx.errors import DomainError
from onionmx.routing.shown import shown_answer
from onionmx.serve.answers import Routes
from onionmx.serve.http.asking import ask, domain_in, shown_to_any_user
from onionmx.serve.http.connection import Request, Response
from onionmx.serve.http.domains import DomainPages
from onionmx.serve.http.health import Health
from onionmx.serve.metrics import LookupMetrics

READ = ("GET", "HEAD")


class Pages:
    """Answers of the HTTP port.

    Args:
        health: what is looked at.
        domains: answers of `/domains`.
        status: answers for the status page by path; `None` for another one.
    """

    def __init__(
        self,
        routes: Routes,
        metrics: LookupMetrics,
        health: Health,
        domains: DomainPages,
        status: Callable[[str], Awaitable[Response | None]],
    ) -> None:
        self._status = status
        self._health = health
        self._routes = routes
        self._tally = metrics.tally("http")
        self._of_no_domain = {"metrics": self._metrics, "healthz": self._healthz, "domains": domains.all}
        self._of_one_domain = {"routes": self._route, "domains": domains.one}
        self._registry = CollectorRegistry()
        self._registry.register(metrics)

    async def respond(self, request: Request) -> Response:
        """Answer a request."""
        return await self._respond(request) or Response.plain(HTTPStatus.NOT_FOUND, "there is no such page")

    async def _respond(self, request: Request) -> Response | None:
        if (shown := await self._status(request.path)) is not None:
            return shown if request.method in READ else refused(READ)
        page, slash, domain = request.path.removeprefix("/").partition("/")
        answers = self._of_one_domain.get(page) if domain else None if slash else self._of_no_domain.get(page)
        if answers is None:
            return None
        return await answers(request) if request.method in READ else refused(READ)

    async def _metrics(self, _request: Request) -> Response:
        return metrics_page(REGISTRY, self._registry)

    async def _healthz(self, _request: Request) -> Response:
        return await health_page(self._health)

    async def _route(self, request: Request) -> Response:
        try:
            domain = domain_in(request.path.removeprefix("/routes/"))
        except DomainError as error:
            return Response.plain(HTTPStatus.BAD_REQUEST, str(error))
        answer, outcome = await ask(self._routes, domain)
        self._tally.count(outcome)
        could_not_tell = isinstance(answer, CouldNotTell)
        status = HTTPStatus.SERVICE_UNAVAILABLE if could_not_tell else HTTPStatus.OK
        return Response.json(status, self._shown(answer))

    def _shown(self, answer: Answer) -> dict[str, Any]:
        """Any local user may be asking."""
        return shown_to_any_user(answer)


async def health_page(health: Health) -> Response:
    """What was seen of each part: 200 where all of them work, else 503."""
    parts = await health.parts()
    healthy = all(part.ok for part in parts.values())
    status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
    return Response.json(status, {"healthy": healthy, "parts": parts})


def metrics_page(*registries: CollectorRegistry) -> Response:
    """The metrics of these, in Prometheus' text format."""
    return Response(HTTPStatus.OK, b"".join(map(generate_latest, registries)), CONTENT_TYPE_LATEST)


class ControlPages(Pages):
    """Answers of the control socket."""

    async def _respond(self, request: Request) -> Response | None:
        method, path = request.method, request.path
        router = self._routes.router
        if path == "/cache":
            if method not in READ:
                return refused(READ)
            entries = [
                {"remaining": round(entry.remaining), "used": entry.used, **shown_answer(entry.answer)}
                for entry in router.entries()
            ]
            return Response.json(HTTPStatus.OK, entries)
        if path == "/cache/stats":
            return Response.json(HTTPStatus.OK, dataclasses.asdict(router.stats())) if method in READ else refused(READ)
        if path.startswith("/cache/"):
            return self._purge(path.removeprefix("/cache/")) if method == "DELETE" else refused(("DELETE",))
        return await super()._respond(request)

    def _shown(self, answer: Answer) -> dict[str, Any]:
        """All of it: only who runs the daemon gets there."""
        return shown_answer(answer)

    def _purge(self, written: str) -> Response:
        try:
            domain = domain_in(written)
        except DomainError as error:
            return Response.plain(HTTPStatus.BAD_REQUEST, str(error))
        return Response.json(HTTPStatus.OK, {"domain": domain, "purged": self._routes.router.purge(domain)})


def refused(methods: tuple[str, ...]) -> Response:
    """405, with the methods that would do."""
    allow = ", ".join(methods)
    return Response.plain(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {allow}", allow)
