"""Authentication-Results fields (RFC 8601); no I/O."""

import re

from msgspec import Struct

from onionmx.echo.words import Word, name, words

MAX_RESULTS = 20
"""Of one field; a message has a signature or two."""
_MAX_PROPERTIES = 8
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_PROPERTY = re.compile(r"[a-z]{1,20}\.[A-Za-z0-9_-]{1,40}")


class MethodResult(Struct, frozen=True):
    """The result of one method, such as `dkim` and `pass`; both in lower case.

    Attributes:
        properties: such as `header.d` and the domain that signed.
    """

    method: str
    result: str
    properties: dict[str, str] = {}


class AuthenticationResults(Struct, frozen=True):
    """What a host says of a message; what it is called there is `authserv_id`, in lower case."""

    authserv_id: str
    results: tuple[MethodResult, ...] = ()


def parse_authentication_results(field: str) -> AuthenticationResults | None:
    """Read the field; `None` where it names no host. Results that cannot be read are left out."""
    statements: list[list[Word]] = [[]]
    for word in words(field, ";="):
        if word == Word("separator", ";"):
            statements.append([])
        elif word.kind != "comment":
            statements[-1].append(word)
    head = statements[0]
    if not head or head[0].kind not in {"word", "quoted"}:
        return None
    authserv_id = name(head[0].text).lower()
    if not authserv_id:
        return None
    results = (_result(statement) for statement in statements[1 : MAX_RESULTS + 1])
    return AuthenticationResults(authserv_id, tuple(result for result in results if result is not None))


def _result(statement: list[Word]) -> MethodResult | None:
    pairs = _pairs(statement)
    if not pairs:
        return None
    (method, result), *rest = pairs
    method = method.partition("/")[0]
    if not (_KEYWORD.fullmatch(method) and _KEYWORD.fullmatch(result)):
        return None
    properties = {key.lower(): name(value, 100) for key, value in rest if _PROPERTY.fullmatch(key)}
    return MethodResult(method.lower(), result.lower(), dict(list(properties.items())[:_MAX_PROPERTIES]))


def _pairs(statement: list[Word]) -> list[tuple[str, str]]:
    equals = Word("separator", "=")
    return [
        (before.text, after.text)
        for before, between, after in zip(statement, statement[1:], statement[2:], strict=False)
        if between == equals and equals not in {before, after}
    ]
