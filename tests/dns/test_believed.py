"""Nobody takes the place of a resolver that is believed: neither another one when it fails, nor a user of this host."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import dns.asyncbackend
import dns.flags
import dns.message
import pytest

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.config import DnsSection
from onionmx.dns.bulk import ask_many
from onionmx.dns.choice import choose
from onionmx.dns.nameserver import PlainNameserver
from onionmx.dns.records import RecordResolver
from onionmx.dns.srv import SrvResolver
from onionmx.errors import DnsError, HostError
from onionmx.target import Trust
from tests.dns.scripted import Reaction, reply, scripted_server
from tests.net.stranger import root_only
from tests.onions import make_onion

DOMAIN = "example.org"
NAME = f"_onion-mx._tcp.{DOMAIN}"
ONION = make_onion("believed")
AD = dns.flags.RA | dns.flags.AD
RECORD = f"{NAME}. 60 IN SRV 0 0 25 {ONION}."
SOA = ("example.org. 60 IN SOA ns.example.org. host.example.org. 1 2 3 4 60",)
NOBODY = 65534

Way = Callable[[DnsSection], Coroutine[None, None, Answer]]


async def ask_live(settings: DnsSection) -> Answer:
    return await SrvResolver(settings).ask(DOMAIN)


async def ask_in_bulk(settings: DnsSection) -> Answer:
    (answer,) = [answer async for answer in ask_many([DOMAIN], settings, SrvResolver(settings).ask)]
    return answer


WAYS = pytest.mark.parametrize("ask", [ask_live, ask_in_bulk], ids=["live", "bulk"])
FORGED = {
    "record": reply(RECORD),
    "NXDOMAIN": reply(rcode="NXDOMAIN", authority=SOA),
    "no record": reply(authority=SOA),
    "record that says AD": reply(RECORD, flags=AD),
}


@asynccontextmanager
async def two(first: Reaction, second: Reaction) -> AsyncIterator[tuple[str, str]]:
    async with scripted_server({NAME: first}) as (_, one), scripted_server({NAME: second}) as (_, other):
        yield one, other


@WAYS
@pytest.mark.parametrize("first", [reply(rcode="SERVFAIL"), lambda _: None], ids=["SERVFAIL", "silent"])
@pytest.mark.parametrize("forged", FORGED.values(), ids=list(FORGED))
def test_who_is_not_believed_replaces_nobody(ask: Way, first: Reaction, forged: Reaction) -> None:
    async def run() -> Answer:
        async with two(first, forged) as (believed, plain):
            return await ask(DnsSection(nameservers=(believed, plain), trusted=(believed,), timeout=0.6, retries=0))

    assert isinstance(asyncio.run(run()), CouldNotTell)


@WAYS
@pytest.mark.parametrize("forged", [each for name, each in FORGED.items() if "AD" not in name])
def test_who_is_believed_replaces_a_failure_by_what_is_validated_alone(ask: Way, forged: Reaction) -> None:
    async def run(second: Reaction) -> Answer:
        async with two(reply(rcode="SERVFAIL"), second) as addresses:
            return await ask(DnsSection(nameservers=addresses, timeout=60.0, retries=0))

    answer = asyncio.run(run(forged))
    assert isinstance(answer, CouldNotTell)
    assert "answered SERVFAIL, and what another says is not validated" in answer.reason
    validated = asyncio.run(run(reply(RECORD, flags=AD)))
    assert isinstance(validated, Found)
    assert validated.route.trust is Trust.DNSSEC


@WAYS
def test_one_who_is_gone_is_replaced_by_another_who_is_believed(ask: Way) -> None:
    async def run() -> Answer:
        async with two(lambda _: None, reply(RECORD)) as addresses:
            return await ask(DnsSection(nameservers=addresses, timeout=6.0, retries=0))

    assert isinstance(asyncio.run(run()), Found)


@pytest.mark.parametrize("kind", ["TXT", "MX"])
def test_policies_too(kind: str) -> None:
    async def run() -> None:
        none = reply(rcode="NXDOMAIN", authority=SOA)
        async with (
            scripted_server({"x.example.org": reply(rcode="SERVFAIL")}) as (_, one),
            scripted_server({"x.example.org": none}) as (_, other),
        ):
            await RecordResolver(DnsSection(nameservers=(one, other), timeout=60.0)).ask("x.example.org", kind)

    with pytest.raises(DnsError, match="SERVFAIL"):
        asyncio.run(run())


IMPOSTOR = """
import asyncio, dns.flags, dns.rdata, os, sys
from tests.dns.scripted import reply, scripted_server
user, name, record, soa = sys.argv[1:]
dns.rdata.load_all_types()  # what is loaded later may be out of reach of that user
forged = reply(record, flags=dns.flags.RA | dns.flags.AD) if record else reply(authority=(soa,))
os.setuid(int(user))
async def main():
    async with scripted_server({name: forged}) as (server, address):
        print(address, flush=True)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(0, ended.set)
        await ended.wait()
        print(len(server.questions), flush=True)
asyncio.run(main())
"""


@contextmanager
def impostor(user: int, record: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of this user that answers with this record, or with none."""
    command = [sys.executable, "-c", IMPOSTOR, str(user), NAME, record, *SOA]
    pipe = subprocess.PIPE
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@root_only
@WAYS
@pytest.mark.parametrize("record", [RECORD, ""], ids=["record", "no record"])
def test_local_user_in_the_place_of_the_resolver(ask: Way, record: str) -> None:
    with impostor(NOBODY, record) as (process, address):
        answer = asyncio.run(ask(DnsSection(nameservers=(address,), timeout=60.0, retries=0)))
        assert isinstance(answer, CouldNotTell)
        assert f"user {NOBODY} listens at {address}" in answer.reason
        assert "dns.users" in answer.reason
        heard, _ = process.communicate()
        assert heard.strip() == "0"


@root_only
@WAYS
@pytest.mark.parametrize("record", [RECORD, ""], ids=["record", "no record"])
def test_user_whom_the_configuration_names(ask: Way, record: str) -> None:
    with impostor(NOBODY, record) as (_, address):
        answer = asyncio.run(ask(DnsSection(nameservers=(address,), users=(str(NOBODY),), timeout=60.0)))
        assert isinstance(answer, Found if record else NoRoute)


def test_listener_that_is_gone_when_it_has_answered_by_tcp() -> None:
    """As where one who came while the resolver was down leaves before he is looked at again."""

    async def run() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = dns.message.make_response(dns.message.from_wire(await reader.readexactly(size))).to_wire()
            server.close()
            writer.write(len(answer).to_bytes(2, "big") + answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        choice = choose(DnsSection(nameservers=(f"{host}:{port}",)))
        request = dns.message.make_query(NAME, "SRV")
        assert isinstance(request, dns.message.QueryMessage)
        nameserver = PlainNameserver(choice.resolvers[0], choice)
        with pytest.raises(OSError, match="it cannot be told who listens"):
            await nameserver.async_query(request, 20.0, None, 0, True, dns.asyncbackend.get_default_backend())  # noqa: FBT003 -- dnspython's

    asyncio.run(run())


@pytest.mark.parametrize("written", ["localhost:5300", "tls://localhost:5300#dns.example"])
def test_a_name_of_this_host_is_believed_like_its_address(written: str) -> None:
    choice = choose(DnsSection(nameservers=(written,)))
    assert choice.are_believed
    assert all(resolver.is_loopback and resolver.port == 5300 for resolver in choice.resolvers)
    is_looked_at = choice.listener(choice.resolvers[0], is_udp=True) is not None
    assert is_looked_at is not written.startswith("tls://")  # the certificate says it


def test_a_resolver_that_cannot_be_found_is_not_replaced_by_the_others() -> None:
    settings = DnsSection(nameservers=("tls://nosuch.invalid#dns.example", "192.0.2.1"))
    with pytest.raises(HostError, match=r"^dns\.nameservers: host nosuch\.invalid"):
        choose(settings)
