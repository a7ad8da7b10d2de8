"""Feeding parsers: whole, byte by byte, with something behind."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from onionmx.serve.keys import domain_as_written
from onionmx.serve.protocols.codec import Parser, ProtocolFault

Request = TypeVar("Request")


def read(parser: Parser[Request], pieces: Iterable[bytes], *, ended: bool = False) -> list[Request | ProtocolFault]:
    """What a parser makes of pieces; as the connection, it stops at a fatal fault."""
    found: list[Request | ProtocolFault] = []

    def take(request: Request | ProtocolFault | None) -> bool:
        if request is not None:
            found.append(request)
        return request is not None and not (isinstance(request, ProtocolFault) and request.is_fatal)

    for piece in pieces:
        parser.feed(piece)
        while take(parser.next_request()):
            pass
        if found and isinstance(found[-1], ProtocolFault) and found[-1].is_fatal:
            return found
    if ended:
        take(parser.end())
    return found


def in_every_way(
    make: Callable[[], Parser[Request]], data: bytes, *, ended: bool = False
) -> list[Request | ProtocolFault]:
    """What a parser makes of input, which must not depend on how it is cut."""
    whole = read(make(), [data], ended=ended)
    assert read(make(), (data[i : i + 1] for i in range(len(data))), ended=ended) == whole
    middle = len(data) // 2
    assert read(make(), [data[:middle], data[middle:]], ended=ended) == whole
    return whole


def domains(found: Iterable[bytes | ProtocolFault]) -> list[bytes | ProtocolFault]:
    """What keys ask about, as it is written."""
    return [one if isinstance(one, ProtocolFault) else domain_as_written(one) for one in found]
