"""Whatever a DNS server does wrong: could not tell, one line in the log with the reason, and never "no route"."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import dns.flags
import pytest

from onionmx.answer import Answer, CouldNotTell, Found
from onionmx.config import Configuration, DnsSection, LookupSection, MapSection, SyncSection
from onionmx.parts import Parts
from tests.dns.scripted import Query, Reaction, reply, scripted_server
from tests.mapfile.maps import A

NAME = "_onion-mx._tcp.example.org"
RECORD = f"{NAME}. 3600 IN SRV 0 5 25 {A}."
GOOD = reply(RECORD)


def silent(_query: Query) -> None:
    """Say nothing."""


def other_id(query: Query) -> bytes:
    good = GOOD(query)
    assert good
    return bytes([good[0] ^ 1]) + good[1:]


SHORT = 0.3
AMPLE = 60.0
"""Seconds, the first only where no answer counts: one that is expected may come late on a busy machine."""
NO_ANSWER = (silent, other_id)

FAULTS = {
    "SERVFAIL": (reply(rcode="SERVFAIL"), "answered SERVFAIL"),
    "silence": (silent, f"no valid answer within {SHORT} s"),
    "lame": (reply(flags=0, authority=("example.org. 60 IN NS ns.example.org.",)), "lame"),
    "lame NXDOMAIN": (reply(rcode="NXDOMAIN", flags=0), "lame"),
    "truncated": (reply(flags=dns.flags.TC), "no resolver could answer"),
    "wrong id": (other_id, f"no valid answer within {SHORT} s"),
    "alias to itself": (reply(f"{NAME}. 60 IN CNAME {NAME}."), "CNAME chain"),
    "loop of aliases": (reply(f"{NAME}. 60 IN CNAME x.example."), "more than 8 aliases"),
}


def parts(address: str, folder: Path, limit: float) -> Parts:
    configuration = Configuration(
        map=MapSection(path=str(folder / "map.cdb")),
        sync=SyncSection(pins=str(folder / "pins")),
        dns=DnsSection(nameservers=(address,), timeout=limit),
        lookup=LookupSection(live=True, min_ttl=0),
    )
    made = Parts(configuration)
    assert made.router._live  # noqa: SLF001
    made.router._live._patience = AMPLE  # noqa: SLF001 -- the expired route is given for what DNS says, not for its delay
    return made


async def route(reactions: dict[str, Reaction], folder: Path, limit: float, *, kept: bool) -> Answer:
    """What the router says; with `kept`, it had a route before, whose time is over."""
    (folder / "pins").touch()
    async with scripted_server(dict(reactions)) as (server, address), AsyncExitStack() as stack:
        asked = await stack.enter_async_context(parts(address, folder, limit))
        if kept:
            # By another one, which has time for it.
            former = await stack.enter_async_context(parts(address, folder, AMPLE))
            server.reactions[NAME] = reply(RECORD.replace(" 3600 ", " 0 "))
            assert isinstance(await former.router.route("example.org"), Found)
            server.reactions[NAME] = reactions[NAME]
            asked.inherit(former)
        return await asked.router.route("example.org")


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_faults(tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str, *, kept: bool) -> None:
    reaction, why = FAULTS[fault]
    reactions = {NAME: reaction, "x.example": reply(f"x.example. 60 IN CNAME {NAME}.")}
    limit = SHORT if reaction in NO_ANSWER else AMPLE
    answer = asyncio.run(route(reactions, tmp_path, limit, kept=kept))
    if kept:
        assert isinstance(answer, Found)
        assert answer.route.stale
        assert why in answer.notes[-1]
    else:
        assert isinstance(answer, CouldNotTell)
        assert why in answer.reason
    (record,) = (each for each in caplog.records if each.name.startswith("onionmx"))
    assert record.getMessage().startswith("example.org: could not tell: _onion-mx._tcp.example.org: ")
    assert why in record.getMessage()
    assert "\n" not in record.getMessage()
