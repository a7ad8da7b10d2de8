import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute, Unroutable
from onionmx.config import Configuration, DnsSection, LocalSection, LookupSection, MapSection, SyncSection
from onionmx.errors import ConfigurationError, MapError
from onionmx.mapfile.cdb import DEFERS, DEFERS_WHY
from onionmx.parts import Parts
from onionmx.routing.files import RouteFiles
from onionmx.routing.live import LiveRoutes
from onionmx.routing.router import Router
from onionmx.target import Source
from tests.dns.scripted import reply, scripted_server
from tests.mapfile.maps import A, B, C, make_map
from tests.onions import V2_ONION
from tests.routing.scripted_dns import ScriptedDns

NOBODY = LocalSection()


class Site:
    """Files in a folder, which are looked at for each lookup."""

    def __init__(self, folder: Path, local: LocalSection = NOBODY, **options: Any) -> None:  # noqa: ANN401 -- of RouteFiles
        self.pins = folder / "pins"
        self.map = folder / "map.cdb"
        self.files = RouteFiles(local, self.pins, self.map, **{"look_interval": 0} | options)

    def get(self, domain: str) -> Answer | None:
        return self.files.get(domain)


def source(answer: Answer | None) -> tuple[Source, str]:
    assert isinstance(answer, Found)
    return answer.route.source, answer.route.targets[0].onion


def test_own_then_pins_then_map_then_onions(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("listed.example\n")
    site = Site(tmp_path, LocalSection(domains=("own.example",), file=str(tmp_path / "own")))
    site.pins.write_text(f"own.example {A}\npinned.example {A}\nnever.example none\n{C} none\n")
    names = ("own.example", "listed.example", "pinned.example", "never.example", "mapped.example", f"mapped.{A}")
    make_map(site.map, dict.fromkeys(names, ((B, 25),)))
    reason = "local domain: this host receives its mail itself"
    assert site.get("own.example") == NoRoute("own.example", reason)
    assert site.get("listed.example") == NoRoute("listed.example", reason)
    assert source(site.get("pinned.example")) == (Source.PIN, A)
    assert site.get("never.example") == NoRoute("never.example", "pinned to none")
    assert source(site.get(B)) == (Source.ONION, B)
    assert source(site.get(f"a.b.{A}")) == (Source.ONION, A)
    assert source(site.get(f"mapped.{A}")) == (Source.MAP, B)
    assert site.get(C) == Unroutable(C, "pinned to none")
    assert isinstance(site.get(V2_ONION), Unroutable)
    assert source(site.get("mapped.example")) == (Source.MAP, B)
    assert site.get("other.example") is None


def test_value_that_defers_is_could_not_tell(tmp_path: Path) -> None:
    site = Site(tmp_path)
    make_map(site.map, dict.fromkeys(("example.org", "pinned.example"), DEFERS))
    site.pins.write_text(f"pinned.example {A}\n")
    assert site.get("example.org") == CouldNotTell("example.org", DEFERS_WHY)
    assert source(site.get("pinned.example")) == (Source.PIN, A)


def test_changed_files_are_read_again(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.touch()
    site = Site(tmp_path, LocalSection(file=str(own)))
    make_map(site.map, {"example.org": ((A, 25),)})
    assert source(site.get("example.org")) == (Source.MAP, A)
    make_map(site.map, {"example.org": ((B, 25),)})
    assert source(site.get("example.org")) == (Source.MAP, B)
    site.pins.write_text(f"example.org {C}\n")
    assert source(site.get("example.org")) == (Source.PIN, C)
    site.pins.write_text("")
    assert source(site.get("example.org")) == (Source.MAP, B)
    own.write_text("example.org\n")
    assert isinstance(site.get("example.org"), NoRoute)


def test_files_are_not_looked_at_for_each_lookup(tmp_path: Path) -> None:
    site = Site(tmp_path, look_interval=3600)
    make_map(site.map, {"example.org": ((A, 25),)})
    first = site.get("example.org")
    make_map(site.map, {"example.org": ((B, 25),)})
    assert site.get("example.org") == first
    site.files.look()
    assert source(site.get("example.org")) == (Source.MAP, B)


def test_text_that_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    site = Site(tmp_path, look_interval=3600)
    make_map(site.map, {"example.org": ((B, 25),)})
    site.pins.write_text(f"example.org {A}\n")
    assert source(site.get("example.org")) == (Source.PIN, A)
    site.pins.write_text("")  # an editor empties the file and then writes it
    site.files.look()
    assert source(site.get("example.org")) == (Source.PIN, A)


def test_mistakes_in_the_files_are_not_absence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    site = Site(tmp_path)
    answer = site.get("example.org")
    assert isinstance(answer, CouldNotTell)
    assert "does not exist" in answer.reason
    site.map.write_bytes(b"x" * 5000)
    assert isinstance(site.get("example.org"), CouldNotTell)
    make_map(site.map)
    assert source(site.get("example.org")) == (Source.MAP, A)
    caplog.clear()
    site.pins.write_text("example.org nonsense\nexample.net nonsense\n")
    for _ in range(3):
        answer = site.get("example.org")
        assert isinstance(answer, CouldNotTell)
        assert f"{site.pins}:1: " in answer.reason
        assert "\n" not in answer.reason
    with pytest.raises(ConfigurationError):
        site.files.check()
    assert [record.levelno for record in caplog.records] == [logging.ERROR], "said once"
    site.pins.write_text("")
    assert source(site.get("example.org")) == (Source.MAP, A)


def test_local_domains_that_cannot_be_read(tmp_path: Path) -> None:
    site = Site(tmp_path, LocalSection(file=str(tmp_path / "missing")))
    make_map(site.map)
    answer = site.get("example.org")
    assert isinstance(answer, CouldNotTell)
    assert "local.file" in answer.reason


def test_damage_where_an_entry_would_stand(tmp_path: Path) -> None:
    site = Site(tmp_path)
    make_map(site.map, {"example.org": ((A, 25),)})
    site.map.write_bytes(site.map.read_bytes().replace(A.encode(), b"x" * len(A)))
    for domain in ("example.org", "example.net"):
        answer = site.get(domain)
        assert isinstance(answer, CouldNotTell)
        assert "checksum" in answer.reason


def test_a_file_that_was_there_and_is_gone_is_not_an_empty_one(tmp_path: Path) -> None:
    """Pins replaced by unlink and create; a map that vanishes where DNS is asked for what it does not have."""
    site = Site(tmp_path, map_may_be_missing=True)
    assert site.get("example.org") is None
    make_map(site.map, {"example.org": ((B, 25),)})
    site.pins.write_text(f"example.org {A}\nexample.net none\n")
    assert source(site.get("example.org")) == (Source.PIN, A)
    for file in (site.pins, site.map):
        away = file.rename(tmp_path / "away")
        for domain in ("example.org", "example.net", "example.com"):
            answer = site.get(domain)
            assert isinstance(answer, CouldNotTell)
            assert f"{file} was there and is gone" in answer.reason
        again = Site(tmp_path, map_may_be_missing=True)
        assert not isinstance(again.get("example.com"), CouldNotTell), "opened anew, as by a reload"
        away.rename(file)
        assert source(site.get("example.org")) == (Source.PIN, A)
        assert site.get("example.com") is None


@pytest.mark.parametrize("name", ["pins", "map.cdb"])
def test_a_file_that_may_not_be_looked_at_is_not_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    code = """
import os, sys
from pathlib import Path
from onionmx.config import LocalSection
from onionmx.routing.files import RouteFiles
folder = Path(sys.argv[1])
paths = {"pins": folder / "pins", "map.cdb": folder / "map.cdb"} | {sys.argv[2]: folder / "folder" / sys.argv[2]}
folder.chmod(0o755), (folder / "folder").chmod(0o700)
os.setuid(65534)
print(RouteFiles(LocalSection(), paths["pins"], paths["map.cdb"], map_may_be_missing=True).get("example.org"))
"""
    command = [sys.executable, "-c", code, str(tmp_path), name]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "CouldNotTell" in result.stdout
    assert "Permission denied" in result.stdout


def test_pins_that_the_configuration_names_must_be_there(tmp_path: Path) -> None:
    make_map(tmp_path / "map.cdb")
    configuration = Configuration(
        map=MapSection(path=str(tmp_path / "map.cdb")), sync=SyncSection(pins=str(tmp_path / "pins"))
    )
    files = RouteFiles.from_configuration(configuration)
    answer = files.get("example.org")
    assert isinstance(answer, CouldNotTell)
    assert "sync.pins" in answer.reason
    (tmp_path / "pins").touch()
    files.look()
    assert source(files.get("example.org")) == (Source.MAP, A)


def test_map_that_is_still_to_come(tmp_path: Path) -> None:
    files = RouteFiles(NOBODY, None, tmp_path / "map.cdb", map_may_be_missing=True, look_interval=0)
    assert files.get("example.org") is None
    make_map(tmp_path / "map.cdb")
    assert source(files.get("example.org")) == (Source.MAP, A)
    files.close()


def known(router: Router, domain: str) -> Answer | None:
    """What a router knows at once."""
    standing = router.known(domain)
    return standing.answer if standing else None


def test_router_asks_dns_for_the_rest(tmp_path: Path) -> None:
    site = Site(tmp_path)
    make_map(site.map, {"mapped.example": ((A, 25),)})

    async def run() -> None:
        dns = ScriptedDns()
        dns.answers["live.example"] = NoRoute("live.example", "asked in DNS", 60)
        router = Router(site.files, LiveRoutes(dns.ask, LookupSection()))
        assert source(known(router, "mapped.example")) == (Source.MAP, A)
        assert source(await router.route("mapped.example")) == (Source.MAP, A)
        assert known(router, "live.example") is None
        assert await router.route("live.example") == dns.answers["live.example"]
        assert isinstance(known(router, "live.example"), NoRoute)
        assert [entry.domain for entry in router.entries()] == ["live.example"]
        assert router.stats().size == 1
        router.save(tmp_path / "cache")
        assert router.purge("live.example")
        assert known(router, "live.example") is None
        assert router.load(tmp_path / "cache") == 1
        assert isinstance(known(router, "live.example"), NoRoute)
        heir = Router(site.files, LiveRoutes(dns.ask, LookupSection()))
        heir.inherit(router)
        assert isinstance(known(heir, "live.example"), NoRoute)
        await heir.close()
        await router.close()
        assert dns.asked == ["live.example"]

    asyncio.run(run())


def test_router_without_dns(tmp_path: Path) -> None:
    site = Site(tmp_path)
    make_map(site.map)

    async def run() -> None:
        router = Router(site.files, None)
        nothing = NoRoute("other.example", "no entry in the map")
        assert known(router, "other.example") == await router.route("other.example") == nothing
        assert not router.purge("other.example")
        assert (list(router.entries()), router.stats().size) == ([], 0)
        await router.close()

    asyncio.run(run())


def test_router_of_a_configuration(tmp_path: Path) -> None:
    async def run() -> None:
        reaction = reply(f"_onion-mx._tcp.live.example. 60 IN SRV 0 0 25 {B}.")
        async with scripted_server({"_onion-mx._tcp.live.example": reaction}) as (server, address):
            (tmp_path / "pins").touch()
            configuration = Configuration(
                local=LocalSection(domains=("own.example",)),
                map=MapSection(path=str(tmp_path / "map.cdb")),
                sync=SyncSection(pins=str(tmp_path / "pins")),
                dns=DnsSection(nameservers=(address,)),
                lookup=LookupSection(live=True),
            )
            async with Parts(configuration) as parts:
                router = parts.router
                router.check()
                assert isinstance(known(router, "own.example"), NoRoute)
                for _ in range(3):
                    assert source(await router.route("live.example")) == (Source.SRV, B)
                assert [kind for _, kind in server.questions].count("SRV") == 1

    asyncio.run(run())


def test_check_without_a_map(tmp_path: Path) -> None:
    (tmp_path / "pins").touch()
    configuration = Configuration(
        map=MapSection(path=str(tmp_path / "map.cdb")), sync=SyncSection(pins=str(tmp_path / "pins"))
    )
    with pytest.raises(MapError):
        Parts(configuration).router.check()
