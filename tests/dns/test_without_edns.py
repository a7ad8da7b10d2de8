"""Resolvers that do not know EDNS: asked again without it, by every way a domain is asked for."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from onionmx.answer import Answer, Found
from onionmx.config import DnsSection
from onionmx.dns.srv import SrvResolver
from tests.dns.scripted import Query, Reaction, reply, scripted_server
from tests.onions import make_onion

ONION = make_onion("without EDNS")
NAME = "_onion-mx._tcp.example.org"
FOUND = reply(f"{NAME}. 60 IN SRV 0 0 25 {ONION}.", flags=dns.flags.RA | dns.flags.AD)


def without_edns(rcode: str, *, whole: bool) -> Reaction:
    """Refuse OPT in this way, with the question or with nothing but a header."""

    def react(query: Query) -> bytes | None:
        if query.edns < 0:
            return FOUND(query)
        response = dns.message.Message(id=query.id)
        response.flags = dns.flags.QR | dns.flags.RA
        response.set_rcode(dns.rcode.from_text(rcode))
        if whole:
            response.question = query.question
        return response.to_wire()

    return react


@pytest.mark.parametrize("whole", [True, False], ids=["with the question", "header only"])
@pytest.mark.parametrize("rcode", ["FORMERR", "NOTIMP"])
@pytest.mark.parametrize("command", ["lookup", "sync"])
def test_asked_again_without_opt(tmp_path: Path, rcode: str, command: str, *, whole: bool) -> None:
    async def run() -> tuple[str, list[tuple[str, str]]]:
        async with scripted_server({NAME: without_edns(rcode, whole=whole)}) as (server, address):
            configuration = tmp_path / "onionmx.toml"
            configuration.write_text(
                f'[map]\npath = "{tmp_path}/map.cdb"\n[sync]\npins = "{tmp_path}/pins"\ndomains = ["{tmp_path}/list"]\n'
                f'[dns]\nnameservers = ["{address}"]\ntimeout = 45\nretries = 0\n'
            )
            (tmp_path / "list").write_text("example.org\n")
            (tmp_path / "pins").touch()
            options = ["lookup", "--live", "--json"] if command == "lookup" else ["sync"]
            arguments = [*options, "--config", str(configuration), *(["example.org"] if command == "lookup" else [])]
            program = Path(sys.executable).with_name("onionmx")
            process = await asyncio.create_subprocess_exec(program, *arguments, stdout=subprocess.PIPE)
            said, _ = await process.communicate()
            return said.decode(), server.questions

    said, questions = asyncio.run(run())
    if command == "lookup":
        assert json.loads(said)[0]["answer"] == "found", said
        assert ONION in said
    else:
        listed = subprocess.run(
            [Path(sys.executable).with_name("onionmx"), "map", "list", "--map", tmp_path / "map.cdb"],
            capture_output=True,
            check=True,
        )
        assert ONION in listed.stdout.decode(), said
    assert 2 <= len([name for name, _ in questions if name == NAME]) <= 4, "it is not asked over and over"


@pytest.mark.parametrize("rcode", ["FORMERR", "NOTIMP"])
def test_asked_again_where_the_next_resolver_is_silent(rcode: str) -> None:
    async def run() -> Answer:
        async with (
            scripted_server({NAME: without_edns(rcode, whole=False)}) as (_, first),
            scripted_server({NAME: lambda _: None}) as (_, silent),
        ):
            settings = DnsSection(nameservers=(first, silent), timeout=9.0)
            begin = asyncio.get_running_loop().time()
            answer = await SrvResolver(settings).ask("example.org")
            assert asyncio.get_running_loop().time() - begin < 2 * settings.timeout
            return answer

    assert isinstance(asyncio.run(run()), Found)
