"""Asking the router for the domain in a path."""

import asyncio
from typing import Any
from urllib.parse import unquote_to_bytes

from onionmx.answer import Answer, CouldNotTell, Found
from onionmx.domain import normalize, shown
from onionmx.errors import DomainError
from onionmx.onion import is_for_tor_alone
from onionmx.routing.shown import shown_answer
from onionmx.serve.answers import Routes
from onionmx.serve.protocols.codec import LookupResult

UNDERSCORED = "no domain with an underscore has an onion MX"
_TELL_WHEN = frozenset({"ttl", "stale", "notes"})


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


def is_underscored(written: str) -> bool:
    """Whether only underscores keep a path from naming a domain: some MTAs send mail to such ones, by their MX.

    Args:
        written: as for `domain_in`.
    """
    try:
        is_plain = "_" in written and "%" not in written
        return is_plain and not is_for_tor_alone(domain_in(written.replace("_", "x")))
    except DomainError:
        return False


async def ask(routes: Routes, domain: str) -> tuple[Answer, LookupResult]:
    """The route of a domain, and what it counts as; at the latest when `serve.timeout` is over."""
    try:
        async with asyncio.timeout(routes.timeout):
            answer = await routes.router.route(domain)
    except TimeoutError:
        return CouldNotTell(domain, f"no answer within {routes.timeout:g} s"), LookupResult.TIMEOUT
    if isinstance(answer, Found):
        return answer, LookupResult.FOUND
    return answer, LookupResult.TEMPORARY if isinstance(answer, CouldNotTell) else LookupResult.NONE


def shown_to_any_user(answer: Answer) -> dict[str, Any]:
    """An answer for JSON, without what tells when this host asked for the domain before."""
    return {name: value for name, value in shown_answer(answer).items() if name not in _TELL_WHEN}
