"""Each test vector of docs/onion-mx-record.md, from the address of a recipient to what Exim is told, with live DNS."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from msgspec import UNSET

from onionmx.config import AuthenticateSection, Configuration, LookupSection, MapSection, ServeSection, SyncSection
from onionmx.mapfile.cdb import parse_value
from onionmx.parts import Parts
from onionmx.serve.listeners import Protocol
from onionmx.serve.service import LookupService
from tests.dns.vectors import ALL, AMPLE, Route, Vector, in_groups, vector_server


def words(expected: Route) -> Iterator[bytes]:
    """The word that begins the line which a vector expects."""
    if expected.found is not UNSET or expected.found_by_weight is not UNSET:
        yield b"found"
    if expected.none is not UNSET:
        yield b"none"
    if expected.could_not_tell is not UNSET:
        yield b"defer"
    if expected.refused is not UNSET:
        yield b"refuse"


async def ask(parts: Parts, recipient: str) -> bytes:
    """What the lookup daemon answers to Exim."""
    service = LookupService(parts)
    connection = partial(service.connection, Protocol.READSOCKET)
    listener = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(f"route user@{recipient}\n".encode())
        reply = await reader.read()
        writer.close()
    finally:
        listener.close()
        await service.close()
    return reply


@pytest.mark.parametrize("vector", ALL.vectors, ids=[vector.id for vector in ALL.vectors])
def test_vector(vector: Vector, tmp_path: Path) -> None:
    async def whole() -> bytes:
        async with vector_server(vector) as (server, settings):
            configuration = Configuration(
                dns=settings,
                map=MapSection(path=str(tmp_path / "map.cdb")),
                sync=SyncSection(pins=str(tmp_path / "pins")),
                lookup=LookupSection(live=True, memory=str(tmp_path / "live.sqlite")),
                serve=ServeSection(timeout=AMPLE),
                authenticate=AuthenticateSection(mode="off"),
            )
            async with Parts(configuration) as parts:
                reply = await ask(parts, vector.recipient)
            assert not server.strange
            return reply

    (tmp_path / "pins").touch()
    line = asyncio.run(whole())
    (word,) = words(vector.route)
    assert line.split(b" ")[0] == word, line
    if word == b"found":
        endpoints = parse_value(line.rstrip().removeprefix(b"found "))
        if vector.route.found is not UNSET:
            assert list(endpoints) == vector.route.found
        else:
            assert in_groups(endpoints, vector.route)
