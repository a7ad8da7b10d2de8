"""`onionmx lookup` is the router of relay and serve: whatever the configuration says, both say the same."""

import asyncio
import json
from pathlib import Path
from typing import Any

import dns.flags
import msgspec
import pytest

from onionmx.config import Configuration
from onionmx.parts import Parts
from onionmx.routing.shown import shown_answer
from tests.cli import test_commands
from tests.cli.test_commands import FAILING, SRV, Site, srv
from tests.dns.scripted import reply
from tests.mapfile.maps import A, B, C, make_map

site = test_commands.site
DOMAINS = (
    "own.example",
    "pinned.example",
    "never.example",
    "mapped.example",
    f"{A}",
    "x.onion",
    "signed.example",
    "unsigned.example",
    "strict.example",
    "demanding.example",
    "failing.example",
    "none.example",
)
CONFIGURATIONS = {
    "live off": "",
    "live": "[lookup]\nlive = true\n",
    "guard off": '[lookup]\nlive = true\n[authenticate]\nmode = "off"\n',
    "signed only": '[lookup]\nlive = true\n[sync]\ntrust = "dnssec"\n',
    "every record": '[lookup]\nlive = true\n[sync]\ntrust = "any"\n',
}


def prepare(site: Site, text: str) -> None:
    make_map(site.map, {"mapped.example": ((B, 25),)})
    site.pins.write_text(f"pinned.example {A}\nnever.example none\n")
    trust = site.pins.with_name("trust")
    trust.write_text("strict.example dnssec\n")
    known = site.configuration.read_text()
    if "[sync]" in text:
        before, text = text.split("[sync]\n")
        known = known.replace("[sync]", f"[sync]\n{text}")
        text = before
    known = known.replace("[sync]", f'[sync]\ntrust_of = "{trust}"')
    site.configuration.write_text(f'{known}\n[local]\ndomains = ["own.example"]\n{text}')
    for name in DOMAINS:
        site.reactions.update(srv(name, C, flags=dns.flags.AD if name == "signed.example" else 0))
    del site.reactions[f"{SRV}none.example"]
    site.reactions[f"{SRV}failing.example"] = FAILING
    # Its policy host does not exist, so that nobody can tell what it demands.
    site.reactions["_mta-sts.demanding.example"] = reply('_mta-sts.demanding.example. 60 IN TXT "v=STSv1; id=1;"')


def routed(site: Site) -> list[Any]:
    """What the router of serve and relay says."""

    async def ask() -> list[Any]:
        async with Parts(Configuration.load(site.configuration)) as parts:
            return [shown_answer(await parts.router.route(domain)) for domain in DOMAINS]

    shown: list[Any] = json.loads(msgspec.json.encode(asyncio.run(ask())))
    return shown


def looked_up(site: Site, capsys: pytest.CaptureFixture[str]) -> list[Any]:
    capsys.readouterr()
    site.run("lookup", "--json", *DOMAINS)
    shown: list[Any] = json.loads(capsys.readouterr().out)
    return shown


def steady(shown: list[Any]) -> list[Any]:
    """Without what is another each time: the TTL that is left."""
    return [{key: value for key, value in one.items() if key != "ttl"} for one in shown]


@pytest.mark.parametrize("text", CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
def test_the_same_as_the_router(site: Site, capsys: pytest.CaptureFixture[str], text: str) -> None:
    prepare(site, text)
    first = looked_up(site, capsys)
    assert steady(first) == steady(routed(site))
    # Now there is a memory, and DNS lies.
    for name in DOMAINS:
        if f"{SRV}{name}" in site.reactions and name != "failing.example":
            site.reactions.update(srv(name, B))
    assert steady(looked_up(site, capsys)) == steady(routed(site))


def test_nothing_is_remembered_of_a_lookup_by_hand(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(site, CONFIGURATIONS["guard off"])
    for onion in (A, B):
        site.reactions.update(srv("unsigned.example", onion))
        assert site.run("lookup", "unsigned.example") == 0
        assert onion in capsys.readouterr().out
    assert not Path(site.map).with_name("live.sqlite").exists()


def test_live_off(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(site, "")
    assert site.run("lookup", "unsigned.example") == 1
    assert "no entry in the map" in capsys.readouterr().out
    assert site.run("lookup", "--live", "unsigned.example") == 0


def test_a_map_that_is_named_must_be_there(site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    prepare(site, CONFIGURATIONS["live"])
    assert site.run("lookup", "--map", tmp_path / "none.cdb", "unsigned.example") == 75
    assert "none.cdb" in capsys.readouterr().err
