"""`/domains` and `/domains/DOMAIN`: what a program that reads a list, or asks for one domain, may take as an answer."""

import asyncio
import json
import os
import threading
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onionmx.answer import Answer
from onionmx.config import LookupSection
from onionmx.domain import normalize
from onionmx.fallback.writing import write_released
from onionmx.onion import is_for_tor_alone
from onionmx.parts import Parts
from onionmx.routing.listing import Listing
from onionmx.serve.http import domain_lists
from onionmx.serve.http.wishes import Format
from onionmx.serve.listeners import Protocol
from tests.mapfile.maps import A, B, make_map
from tests.routing.scripted_dns import found, none, unknown
from tests.serve.http.test_connection import parse, request
from tests.serve.service import Service, play

LISTED = ("example.org", "mapped.onion", "waits.example")
ANSWER = "Onionmx-Answer"


class NothingInDns(dict[str, Answer]):
    """Answers to any question that the domain has no onion MX."""

    def __contains__(self, domain: object) -> bool:
        return True

    def __getitem__(self, domain: str) -> Answer:
        return none(domain)


async def ask(service: Service, target: str, *fields: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Status, header fields by their names as they are written, and body."""
    data = await service.ask(Protocol.HTTP, request(target, method, *fields))
    status, headers, body = parse(data, method)
    return status, {name.title(): value for name, value in headers.items()}, body


def test_formats(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        status, headers, body = await ask(service, "/domains")
        assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert body == b"example.org\nmapped.onion\nwaits.example\n", "what waits would leave in the clear without it"
        assert headers["Content-Length"] == str(len(body))
        assert headers["Cache-Control"] == "no-cache"
        status, headers, body = await ask(service, "/domains?format=csv")
        assert (status, headers["Content-Type"]) == (200, "text/csv; charset=utf-8; header=present")
        assert body.split(b"\r\n") == [
            b"domain,answer",
            b"example.org,found",
            b"mapped.onion,found",
            b"waits.example,could not tell",
            b"",
        ]
        status, headers, body = await ask(service, "/domains", "Accept: application/json")
        assert (status, headers["Content-Type"], headers["Vary"]) == (200, "application/json", "Accept")
        assert [each["domain"] for each in json.loads(body)] == list(LISTED)
        assert json.loads(body)[2]["answer"] == "could not tell"
        for wrong in ("/domains?format=xml", "/domains/example.org?format=xml"):
            assert (await ask(service, wrong))[0] == 400
        assert (await ask(service, "/domains/"))[0] == 404
        assert (await ask(service, "/domains", method="POST"))[0] == 405
        assert service.count("http", "found") == 3

    play(tmp_path, test)


def test_only_what_is_new(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        tags = set()
        for name in ("list", "csv", "json"):
            _, headers, body = await ask(service, f"/domains?format={name}")
            tag = headers["Etag"]
            tags.add(tag)
            assert tag.startswith('"'), "strong"
            status, headers, nothing = await ask(service, f"/domains?format={name}", f"If-None-Match: {tag}")
            assert (status, nothing, headers["Etag"]) == (304, b"", tag)
            assert "Content-Length" not in headers
            status, headers, nothing = await ask(service, f"/domains?format={name}", method="HEAD")
            assert (status, nothing, headers["Content-Length"]) == (200, b"", str(len(body)))
        assert len(tags) == 3
        make_map(tmp_path / "map.cdb", {"new.example": ((A, 25),)})
        status, headers, body = await ask(service, "/domains", f"If-None-Match: {', '.join(tags)}")
        assert (status, body) == (200, b"new.example\n"), "at once"
        assert headers["Etag"] not in tags
        (tmp_path / "pins").write_text(f"pinned.example {A}\nnew.example none\n")
        os.utime(tmp_path / "pins", (1, 1))
        assert (await ask(service, "/domains"))[2] == b"pinned.example\n"

    play(tmp_path, test)


def test_connection_stays_open_after_a_304(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        reader, writer = await service.connect(Protocol.HTTP)
        writer.write(
            request("/domains", "GET", "If-None-Match: *")
            + request("/domains/none.example", "GET", "Connection: close")
        )
        service.dns.answers["none.example"] = none("none.example")
        answers = await reader.read()
        writer.close()
        first, _, second = answers.partition(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 304 ")
        assert second.startswith(b"HTTP/1.1 404 ")

    play(tmp_path, test)


def test_it_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For all who ask while it is made, and afterwards, until a file changes."""
    made = []
    render = domain_lists._render  # noqa: SLF001

    def counted(listing: Listing, wanted: Format) -> domain_lists.Rendered:
        made.append(wanted)
        assert threading.current_thread() is not threading.main_thread()
        return render(listing, wanted)

    monkeypatch.setattr(domain_lists, "_render", counted)

    async def test(service: Service) -> None:
        for _ in range(2):
            assert {status for status, *_ in await asyncio.gather(*(ask(service, "/domains") for _ in range(20)))} == {
                200
            }
        assert len(made) == 1
        await ask(service, "/domains?format=csv")
        make_map(tmp_path / "map.cdb", {})
        assert (await ask(service, "/domains"))[::2] == (200, b"")
        assert len(made) == 3

    play(tmp_path, test)


def test_who_asks_and_goes_away_ends_nothing_for_others(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        for _ in range(20):
            _, writer = await service.connect(Protocol.HTTP)
            writer.write(request("/domains"))
            writer.transport.abort()
        assert (await ask(service, "/domains"))[0] == 200

    play(tmp_path, test)


def test_a_long_list_is_whole(tmp_path: Path) -> None:
    entries = {f"d{number:05}.example": ((A, 25),) for number in range(20_000)}

    async def test(service: Service) -> None:
        make_map(tmp_path / "map.cdb", entries)
        for name in ("list", "csv", "json"):
            _, headers, body = await ask(service, f"/domains?format={name}")
            assert headers["Content-Length"] == str(len(body))
            names = (
                [each["domain"] for each in json.loads(body)]
                if name == "json"
                else [line.partition(",")[0] for line in body.decode().split()[name == "csv" :: 1]]
            )
            assert [each for each in names if each.endswith(".example")] == list(entries)

    play(tmp_path, test)


@pytest.mark.parametrize("fault", ["missing", "damaged", "pins", "unreadable"])
def test_no_list_is_no_empty_list(tmp_path: Path, fault: str) -> None:
    """An empty one would send all mail over the open internet."""

    async def test(service: Service) -> None:
        path = tmp_path / "map.cdb"
        match fault:
            case "missing":
                path.unlink()
            case "damaged":
                path.write_bytes(path.read_bytes()[:-1])
            case "pins":
                (tmp_path / "pins").write_text("example.org\n")
            case "unreadable":
                path.unlink()
                path.mkdir()
        for method in ("GET", "HEAD"):
            status, headers, body = await ask(service, "/domains", "If-None-Match: *", method=method)
            assert status == HTTPStatus.SERVICE_UNAVAILABLE
            assert "Etag" not in headers
        _, _, body = await ask(service, "/domains")
        assert str(tmp_path).encode() in body
        assert body.count(b"\n") == 1
        assert service.count("http", "temporary") == 3
        assert (await ask(service, "/domains/example.org"))[0] == 503
        make_map(tmp_path / "map.cdb") if fault != "unreadable" else path.rmdir()
        if fault not in {"pins", "unreadable"}:
            assert (await ask(service, "/domains"))[::2] == (200, b"example.org\n")

    play(tmp_path, test)


def test_damage_that_is_seen_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody rewrites the map in place, against the rules, after the look at it. The next question reads it again."""
    faults = [True]

    async def test(service: Service) -> None:
        content = (tmp_path / "map.cdb").read_bytes()
        opened = Listing.opened

        def damaged(listing: Listing) -> object:
            if faults:
                faults.pop()
                (tmp_path / "map.cdb").write_bytes(content[:-1])
            return opened(listing)

        monkeypatch.setattr(Listing, "opened", damaged)
        status, _, body = await ask(service, "/domains")
        assert status == 503
        assert b"damaged" in body
        (tmp_path / "map.cdb").write_bytes(content)
        assert (await ask(service, "/domains"))[0] == 200

    play(tmp_path, test)


def test_live_lookups_have_no_list_without_a_map(tmp_path: Path) -> None:
    """The list would lack what only DNS knows, and be taken for the whole."""

    async def test(service: Service) -> None:
        (tmp_path / "map.cdb").unlink()
        service.configuration = service.configuration.__class__(
            map=service.configuration.map, sync=service.configuration.sync, lookup=LookupSection(live=True)
        )
        parts = Parts(service.configuration)
        service.service.use(parts)
        try:
            status, _, body = await ask(service, "/domains")
            assert (status, b"DNS has no list of domains" in body) == (503, True)
        finally:
            await parts.close()

    play(tmp_path, test)


def test_one_domain(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        service.dns.answers |= {
            "live.example": found("live.example"),
            "none.example": none("none.example"),
            "broken.example": unknown("broken.example"),
            "xn--bcher-kva.example": found("xn--bcher-kva.example"),
        }
        for asked, status, answer, body in (
            ("example.org", 200, "found", "example.org\n"),
            ("EXAMPLE.org.", 200, "found", "example.org\n"),
            ("live.example", 200, "found", "live.example\n"),
            ("b%C3%BCcher.example", 200, "found", "xn--bcher-kva.example\n"),
            (A, 200, "found", f"{A}\n"),
            (f"sub.{B}", 200, "found", f"sub.{B}\n"),
            ("none.example", 404, "no route", "none.example: no such name in DNS\n"),
            ("own.example", 404, "no route", "own.example: local domain: this host receives its mail itself\n"),
            ("A_b.example", 404, "no route", "a_b.example: no domain with an underscore has an onion MX\n"),
            ("broken.example", 503, "could not tell", "broken.example: answered SERVFAIL\n"),
        ):
            got_status, headers, got_body = await ask(service, f"/domains/{asked}")
            assert (asked, got_status, headers[ANSWER], got_body.decode()) == (asked, status, answer, body)
        status, headers, got_body = await ask(service, "/domains/waits.example")
        assert (status, headers[ANSWER]) == (503, "could not tell")
        assert got_body.startswith(b"waits.example: its record names an onion MX")
        for junk in ("%2A", "a@b", f"a@{A}", "%ff", "-x-", "a/b", "a%00", ".onion", "b%C3%BC_.example", "a_@b"):
            status, headers, _ = await ask(service, f"/domains/{junk}")
            assert (junk, status, ANSWER in headers) == (junk, 400, False)
        assert (service.count("http", "found"), service.count("http", "none")) == (6, 3)
        assert service.count("http", "temporary") == 2

    play(tmp_path, test)


def test_formats_of_one_domain(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        service.dns.answers["none.example"] = none("none.example")
        assert (await ask(service, "/domains/example.org?format=csv"))[2] == b"domain,answer\r\nexample.org,found\r\n"
        status, headers, body = await ask(service, "/domains/example.org", "Accept: application/json")
        answer = json.loads(body)
        assert (status, headers["Content-Type"], answer["answer"]) == (200, "application/json", "found")
        assert [(target["onion"], target["port"]) for target in answer["targets"]] == [(A, 25), (B, 2525)]
        assert not {"ttl", "stale", "notes"} & set(answer)
        status, _, body = await ask(service, "/domains/none.example?format=json")
        assert (status, json.loads(body)["answer"]) == (404, "no route")
        status, _, body = await ask(service, "/domains/waits.example?format=json")
        assert (status, json.loads(body)["answer"]) == (503, "could not tell")
        _, _, body = await ask(service, "/domains/a%2C%22.onion?format=csv")
        assert body == b'domain,answer\r\n"a,"".onion",refused\r\n'

    play(tmp_path, test)


@pytest.mark.parametrize(
    "name", ["x.onion", "expyuzz4wqqyqhjn.onion", "onion", "-x-.onion", "X_.Onion.", "b%C3%BC.onion"]
)
def test_impossible_onion_is_for_the_relay_to_refuse(tmp_path: Path, name: str) -> None:
    """As the maps say `error:5.1.2`; "no route" would have the MTA ask the open DNS."""

    async def test(service: Service) -> None:
        status, headers, _ = await ask(service, f"/domains/{name}")
        assert (status, headers[ANSWER]) == (200, "refused")
        status, _, body = await ask(service, f"/domains/{name}?format=json")
        assert (status, json.loads(body)["answer"]) == (200, "refused")
        assert service.count("http", "permanent") == 2

    play(tmp_path, test)


def test_local_onion_has_no_way_to_the_open_dns(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        status, headers, body = await ask(service, "/domains/own.onion")
        assert (status, headers[ANSWER]) == (503, "could not tell")
        assert b"does not take for its own" in body

    play(tmp_path, test)


def test_released_domain(tmp_path: Path) -> None:
    """Its mail goes over the open internet for now: in no list, and 404, as the maps say."""

    async def test(service: Service) -> None:
        configuration = service.configuration
        (tmp_path / "pins").write_text(f"pinned.example {A}\n")
        os.utime(tmp_path / "pins", (1, 1))
        path = tmp_path / "released.cdb"
        released = configuration.__class__(
            map=configuration.map, sync=configuration.sync, fallback=type(configuration.fallback)(released=str(path))
        )
        write_released(path, ("example.org", "pinned.example"))
        parts = Parts(released)
        service.service.use(parts)
        try:
            assert (await ask(service, "/domains"))[2] == b"mapped.onion\nwaits.example\npinned.example\n"
            assert (await ask(service, "/domains/example.org"))[0] == 404
            assert (await ask(service, "/domains/pinned.example"))[0] == 200
            write_released(path, ())
            assert (await ask(service, "/domains"))[2].startswith(b"example.org\n")
        finally:
            await parts.close()

    play(tmp_path, test)


def test_no_answer_in_time(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        status, headers, _ = await ask(service, "/domains/slow.example")
        assert (status, headers[ANSWER]) == (503, "could not tell")

    play(tmp_path, test, timeout=0.2)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_404_with_an_answer_is_the_routers_own(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever is asked: "no route" is said of domains alone, and of none under .onion."""
    names = data.draw(
        st.lists(st.text(max_size=20) | st.sampled_from(["a.onion", "b.example", "ü.onion"]), max_size=20)
    )

    async def test(service: Service) -> None:
        service.dns.answers = NothingInDns()
        for name in names:
            status, headers, _ = await ask(service, f"/domains/{quote(name, safe='')}")
            if status != HTTPStatus.NOT_FOUND:
                assert status in {200, 400, 503}
                continue
            if not name:
                assert ANSWER not in headers
                continue
            assert headers[ANSWER] == "no route"
            assert not is_for_tor_alone(name)
            normalize(name)

    play(tmp_path_factory.mktemp("service"), test)
