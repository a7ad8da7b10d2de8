"""Feeding parsers: whole, byte by byte, with something behind."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from onionmx.serve.keys import domain_as_written
from onionmx.serve.protocols.codec import Fault, Parser

Request = TypeVar("Request")


def read(parser: Parser[Request], pieces: Iterable[bytes], *, ended: bool = False) -> list[Request | Fault]:
    """What a parser makes of pieces; as the connection, it stops at a fatal fault."""
    found: list[Request | Fault] = []

    def take(request: Request | Fault | None) -> bool:
        if request is not None:
            found.append(request)
        return request is not None and not (isinstance(request, Fault) and request.is_fatal)

    for piece in pieces:
        parser.feed(piece)
        while take(parser.next_request()):
            pass
        if found and isinstance(found[-1], Fault) and found[-1].is_fatal:
            return found
    if ended:
        take(parser.end())
    return found


def in_every_way(make: Callable[[], Parser[Request]], data: bytes, *, ended: bool = False) -> list[Request | Fault]:
    """What a parser makes of input, which must not depend on how it is cut."""
    whole = read(make(), [data], ended=ended)
    assert read(make(), (data[i : i + 1] for i in range(len(data))), ended=ended) == whole
    middle = len(data) // 2
    assert read(make(), [data[:middle], data[middle:]], ended=ended) == whole
    return whole


def domains(found: Iterable[bytes | Fault]) -> list[bytes | Fault]:
    """What keys ask about, as it is written."""
    return [one if isinstance(one, Fault) else domain_as_written(one) for one in found]
