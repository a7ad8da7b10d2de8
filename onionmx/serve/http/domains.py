"""The domains whose mail goes to the relay: all that the files of this host name, or one.

| answer | `GET /domains/DOMAIN` |
|---|---|
| `found`; `refused`, for an impossible name under .onion, whose mail the relay refuses | 200 |
| `no route` | 404 |
| `could not tell` | 503 |
| not a domain | 400 |

The field `Onionmx-Answer` has the answer in these words: a page that does not exist is 404 as well.
"""

from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute, Unroutable
from onionmx.errors import DomainError, InputError, OnionmxError
from onionmx.onion import is_for_tor_alone
from onionmx.serve.answers import BAD_ONION, NOT_LOCAL, Routes
from onionmx.serve.http.asking import UNDERSCORED, ask, domain_in, is_underscored, shown_to_any_user
from onionmx.serve.http.connection import Request, Response
from onionmx.serve.http.domain_lists import DomainLists, rendered_line
from onionmx.serve.http.wishes import Format, format_of, is_known
from onionmx.serve.keys import names_an_onion
from onionmx.serve.metrics import Tally
from onionmx.serve.protocols.codec import LookupResult
from onionmx.text import printable_ascii

_OUTCOMES = {
    LookupResult.FOUND: (HTTPStatus.OK, "found"),
    LookupResult.PERMANENT: (HTTPStatus.OK, "refused"),
    LookupResult.NONE: (HTTPStatus.NOT_FOUND, "no route"),
    LookupResult.TEMPORARY: (HTTPStatus.SERVICE_UNAVAILABLE, "could not tell"),
    LookupResult.TIMEOUT: (HTTPStatus.SERVICE_UNAVAILABLE, "could not tell"),
}
_VARY = ("Vary", "Accept")


class DomainPages:
    """Answers of `/domains` and `/domains/DOMAIN`.

    Args:
        routes: asked for one domain, and for all.
        lists: all domains, in each format.
        tally: counts the answers.
    """

    def __init__(self, routes: Routes, lists: DomainLists, tally: Tally) -> None:
        self._routes = routes
        self._lists = lists
        self._tally = tally

    async def all(self, request: Request) -> Response:
        """All domains that pins and map send to the relay; what only DNS knows is not among them."""
        try:
            wanted = format_of(request.query, request.field("accept"))
        except InputError as error:
            return Response.plain(HTTPStatus.BAD_REQUEST, str(error))
        try:
            made = await self._lists.get(self._routes.router, wanted)
        except OnionmxError as error:
            self._tally.count(LookupResult.TEMPORARY)
            return Response.plain(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(str(error).splitlines()))
        self._tally.count(LookupResult.FOUND)
        headers = (("ETag", made.entity_tag), _VARY)
        if is_known(made.entity_tag, request.field("if-none-match")):
            return Response(HTTPStatus.NOT_MODIFIED, b"", cache_control="no-cache", headers=headers)
        return Response(HTTPStatus.OK, made.body, wanted.media_type, cache_control="no-cache", headers=headers)

    async def one(self, request: Request) -> Response:
        """Whether the mail of one domain goes to the relay."""
        try:
            wanted = format_of(request.query, request.field("accept"))
            answer, outcome = await self._answer(request.path.removeprefix("/domains/"))
        except InputError as error:
            return Response.plain(HTTPStatus.BAD_REQUEST, str(error))
        self._tally.count(outcome)
        status, words = _OUTCOMES[outcome]
        headers = (("Onionmx-Answer", words), _VARY)
        if wanted is Format.JSON:
            return Response.json(status, shown_to_any_user(answer) | {"answer": words}, headers)
        if isinstance(answer, Found):
            body = rendered_line(answer.route.domain, words, wanted)
        elif outcome is LookupResult.PERMANENT:
            body = rendered_line(answer.domain, words, wanted)
        else:
            return Response(status, f"{answer.domain}: {answer.reason}\n".encode(), headers=headers)
        return Response(status, body, wanted.media_type, headers=headers)

    async def _answer(self, written: str) -> tuple[Answer, LookupResult]:
        """The answer as MTAs get it: a name under .onion never has "no route", which would lead to the open DNS.

        Raises:
            DomainError: not a domain.
        """
        try:
            domain = domain_in(written)
        except DomainError:
            key = unquote_to_bytes(written)
            if is_underscored(written):
                return NoRoute(written.lower(), UNDERSCORED), LookupResult.NONE
            if b"@" in key or not names_an_onion(key):
                raise
            return Unroutable(printable_ascii(key.decode("utf-8", "replace")), BAD_ONION), LookupResult.PERMANENT
        answer, outcome = await ask(self._routes, domain)
        if isinstance(answer, Unroutable):
            return answer, LookupResult.PERMANENT
        if isinstance(answer, NoRoute) and is_for_tor_alone(domain):
            return CouldNotTell(domain, NOT_LOCAL), LookupResult.TEMPORARY
        return answer, outcome
