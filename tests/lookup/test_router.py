import asyncio
from pathlib import Path

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.lookup.router import Router
from onionmx.target import Source
from tests.mapfile.maps import A, B, C, make_map


async def ask(domain: str) -> Answer:
    return NoRoute(domain, "asked in DNS")


def route(router: Router, domain: str) -> Answer:
    async def run() -> Answer:
        return await router.route(domain)

    return asyncio.run(run())


def found(answer: Answer) -> tuple[Source, str]:
    assert isinstance(answer, Found)
    return answer.route.source, answer.route.targets[0].onion


def test_pins_then_map_then_dns(tmp_path: Path) -> None:
    pins = tmp_path / "pins"
    pins.write_text(f"pinned.example {A}\nnever.example none\n")
    map_path = make_map(tmp_path / "map.cdb", dict.fromkeys(("pinned.example", "mapped.example"), ((B, 25),)))
    router = Router(pins, map_path, ask)
    assert found(route(router, "pinned.example")) == (Source.PIN, A)
    assert found(route(router, "mapped.example")) == (Source.MAP, B)
    assert route(router, "other.example") == NoRoute("other.example", "asked in DNS")
    assert route(router, "never.example") == NoRoute("never.example", "pinned to none")
    assert route(Router(pins, map_path, None), "other.example") == NoRoute("other.example", "no entry in the map")


def test_changed_files_are_read_again(tmp_path: Path) -> None:
    pins = tmp_path / "pins"
    map_path = make_map(tmp_path / "map.cdb", {"example.org": ((A, 25),)})
    router = Router(pins, map_path, None)
    assert found(route(router, "example.org")) == (Source.MAP, A)
    make_map(map_path, {"example.org": ((B, 25),)})
    assert found(route(router, "example.org")) == (Source.MAP, B)
    pins.write_text(f"example.org {C}\n")
    assert found(route(router, "example.org")) == (Source.PIN, C)
    pins.unlink()
    assert found(route(router, "example.org")) == (Source.MAP, B)


def test_mistakes_in_the_files_are_not_absence(tmp_path: Path) -> None:
    pins = tmp_path / "pins"
    map_path = tmp_path / "map.cdb"
    router = Router(pins, map_path, ask)
    answer = route(router, "example.org")
    assert isinstance(answer, CouldNotTell)
    assert "does not exist" in answer.reason
    map_path.write_bytes(b"x" * 5000)
    assert isinstance(route(router, "example.org"), CouldNotTell)
    make_map(map_path)
    assert found(route(router, "example.org")) == (Source.MAP, A)
    pins.write_text("example.org nonsense\n")
    answer = route(router, "example.org")
    assert isinstance(answer, CouldNotTell)
    assert f"{pins}:1: " in answer.reason
    assert isinstance(route(router, "example.org"), CouldNotTell)


def test_map_that_is_still_to_come(tmp_path: Path) -> None:
    router = Router(None, tmp_path / "map.cdb", ask, map_may_be_missing=True)
    assert isinstance(route(router, "example.org"), NoRoute)
    make_map(tmp_path / "map.cdb")
    assert found(route(router, "example.org")) == (Source.MAP, A)
