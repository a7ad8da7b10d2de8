"""Knot DNS and BIND as primaries, a resolver that knows their zones, and `onionmx publish`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.tsig
import dns.update
import pytest

from onionmx.cli import main
from onionmx.config import DnsSection
from onionmx.publish.records import OnionMxRecords
from onionmx.publish.run import verify
from onionmx.target import Target

from .bind import Bind
from .conftest import skip_without
from .name_servers import TSIG_ALGORITHM, TSIG_NAME, TSIG_SECRET, NameServers, Zone

PREFIX = "_onion-mx._tcp"
OTHERS = f"""
@                 NS    ns2
ns2               A     127.0.0.2
www               A     127.0.0.1
_other._tcp       SRV   1 2 3 www
{PREFIX}          TXT   "stays"
{PREFIX}.alias    CNAME www
*.wild            CNAME www
*.srv.wild        SRV   7 7 7 www
"""
ONE_SERVER = OTHERS.replace("@                 NS    ns2", "")
KEY = dns.tsig.Key(TSIG_NAME, TSIG_SECRET, TSIG_ALGORITHM)
TTL = 600


class Site(NamedTuple):
    """A primary and the resolver that knows its zones."""

    servers: NameServers
    bind: Bind

    def primary_of(self, zone: str) -> tuple[str, int]:
        return self.bind.address if zone in self.bind.zones else self.servers.authority

    @property
    def dns(self) -> DnsSection:
        return DnsSection(nameservers=("{}:{}".format(*self.servers.resolver),))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    skip_without("knotd", "knotc", "keymgr", "unbound", "unbound-control", "setpriv", "named")
    knot_zones = {
        "signed.test": Zone(ONE_SERVER, signed=True),
        "unsigned.test": Zone(ONE_SERVER),
        "island.test": Zone(ONE_SERVER, signed=True, anchored=False),
        "bogus.test": Zone(ONE_SERVER, bogus=True),
        "lagging.test": Zone(OTHERS),
    }
    bind_zones = {
        "bind-signed.test": Zone(ONE_SERVER, signed=True),
        "bind-unsigned.test": Zone(ONE_SERVER),
        "bind-lagging.test": Zone(OTHERS, signed=True),
        "closed.test": Zone(ONE_SERVER),
    }
    with (
        Bind(bind_zones, closed=frozenset({"closed.test"})) as bind,
        NameServers(knot_zones, elsewhere=bind.elsewhere()) as servers,
    ):
        yield Site(servers, bind)


class Client:
    """The command, with the port that the test's name servers have instead of 53."""

    def __init__(self, folder: Path, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
        self._site = site
        self._capsys = capsys
        self.key = folder / "key"
        self.key.write_text(f'key "{TSIG_NAME}" {{ algorithm {TSIG_ALGORITHM}; secret "{TSIG_SECRET}"; }};\n')
        self.key.chmod(0o600)
        self.configuration = folder / "onionmx.toml"
        self.configuration.write_text(
            f'[dns]\nnameservers = ["{"{}:{}".format(*site.servers.resolver)}"]\ntimeout = 30.0\n'
            f'[publish]\nttl = {TTL}\ntsig_file = "{self.key}"\n'
            f'[tor]\ncontrol_password_file = "{folder}/no-tor-here"\n'
        )

    def run(self, zone: str, *words: str, server: str = "") -> tuple[int, str, str]:
        server = server or "{}:{}".format(*self._site.primary_of(zone))
        code = main(["publish", "--config", str(self.configuration), "--update", server, *words])
        return code, *self._capsys.readouterr()

    def report(self, zone: str, *words: str) -> tuple[int, dict[str, Any]]:
        code, out, _ = self.run(zone, "--json", *words)
        return code, json.loads(out)


@pytest.fixture
def client(tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Client:
    def on_the_port(*words: Any, **named: Any) -> Any:  # noqa: ANN401 -- whatever verify takes and gives
        zones = {zone.to_text(omit_final_dot=True) for zone in named["zones"].values()}
        (port,) = {site.primary_of(zone)[1] for zone in zones} or {53}
        return verify(*words, **named, port=port)

    monkeypatch.setattr("onionmx.cli.publish.verify", on_the_port)
    return Client(tmp_path, site, capsys)


def held(server: tuple[str, int], name: str, kind: str = "SRV") -> list[str]:
    query = dns.message.make_query(name, kind)
    reply = dns.query.tcp(query, server[0], 3, port=server[1])
    return sorted(
        data.to_text() for rrset in reply.answer for data in rrset if rrset.rdtype == query.question[0].rdtype
    )


def serial(server: tuple[str, int], zone: str) -> str:
    return held(server, zone, "SOA")[0].split()[2]


def target(onion: str) -> OnionMxRecords:
    return OnionMxRecords("unsigned.test", (Target(onion, 25, 0, 5),), TTL)


def somebody_else(server: tuple[str, int], zone: str, domain: str, onion: str) -> None:
    message = dns.update.UpdateMessage(zone)
    message.replace(f"{PREFIX}.{domain}.", 60, "SRV", f"1 1 25 {onion}.")
    message.use_tsig(KEY)
    assert dns.query.tcp(message, server[0], 3, port=server[1]).rcode() == 0
