"""Real name servers on loopback: Knot DNS with authority over the zones of a test, Unbound as validating resolver.

Names outside these zones do not exist for the resolver; it never asks the world. The options: knot.conf(5),
unbound.conf(5).
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from .daemon import Daemon, DaemonError, free_ports
from .programs import find_program

LOOPBACK = "127.0.0.1"
QUERY_TIMEOUT = 10.0

TSIG_NAME = "onionmx-test."
TSIG_ALGORITHM = "hmac-sha256"
TSIG_SECRET = "b25pb25teC10ZXN0LWtleS1vbmlvbm14LXRlc3Qta2U="  # noqa: S105 - the key of a name server that lives for one test

KNOT = """\
server:
  rundir: {folder}
  listen: {host}@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
control:
  listen: {folder}/knot.sock
log:
- target: stderr
  any: info
database:
  storage: {folder}/knot
  journal-db-max-size: 100M
key:
- id: {tsig_name}
  algorithm: {tsig_algorithm}
  secret: {tsig_secret}
acl:
- id: tests
  key: {tsig_name}
  action: [update, transfer]
policy:
- id: automatic
  algorithm: ecdsap256sha256
  single-type-signing: on
template:
- id: default
  storage: {folder}
  file: "%s.zone"
  # The file stays as the test wrote it; the journal holds signatures, serials and dynamic updates.
  zonefile-sync: -1
  zonefile-load: difference-no-serial
  journal-content: all
  dnssec-policy: automatic
  acl: tests
zone:
"""
UNBOUND = """\
server:
  interface: {host}
  port: {port}
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  logfile: ""
  use-syslog: no
  log-queries: yes
  val-log-level: 2
  do-daemonize: no
  num-threads: 1
  do-not-query-localhost: no
  qname-minimisation: no
  rrset-roundrobin: no
  outbound-msg-retry: 1
  module-config: "validator iterator"
  local-zone: "." static
remote-control:
  control-enable: yes
  control-interface: {folder}/unbound.sock
  control-use-cert: no
server:
"""


@dataclass(frozen=True)
class Zone:
    """What a zone holds: records in zone file text, relative to the zone.

    SOA and NS records are put in front. A ``bogus`` zone is signed, but the resolver trusts another key than the one
    that signed it, so it answers SERVFAIL for every name in it. One that is not ``anchored`` is signed, and the
    resolver knows no key of it.
    """

    records: str
    signed: bool = False
    bogus: bool = False
    anchored: bool = True

    @property
    def has_signatures(self) -> bool:
        """Whether the authority signs it."""
        return self.signed or self.bogus

    def file_text(self, name: str) -> str:
        """The zone file of a zone of this name."""
        head = f"$ORIGIN {name}.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\nns A {LOOPBACK}\n"
        return f"{head}{self.records}\n"


class Query(NamedTuple):
    """A question that the resolver was asked: name in lower case without the final dot, and type."""

    name: str
    type: str


class Elsewhere(NamedTuple):
    """A zone of another name server: its address, and the DS records that the resolver is to trust."""

    address: tuple[str, int]
    anchors: Sequence[str] = ()


def serves(server: tuple[str, int], name: str, wanted: dns.rdatatype.RdataType) -> bool:
    """Tell whether a name server answers for a zone."""
    try:
        reply = dns.query.udp(dns.message.make_query(name, wanted), server[0], QUERY_TIMEOUT, port=server[1])
    except (dns.exception.DNSException, OSError):
        return False
    return reply.rcode() == dns.rcode.NOERROR and bool(reply.answer)


class NameServers:
    """An authority and a resolver for some zones. Both addresses are (host, port) and speak UDP and TCP."""

    def __init__(
        self, zones: Mapping[str, Zone], parent: Path | None = None, elsewhere: Mapping[str, Elsewhere] | None = None
    ) -> None:
        """Take the zones by name, without final dot, and where to make the folder (default: temporary files).

        ``elsewhere`` are zones of other name servers, which the resolver is to know too.
        """
        self.zones = dict(zones)
        self.elsewhere = dict(elsewhere or {})
        self.folder = Path(tempfile.mkdtemp(prefix="onionmx-dns-", dir=parent))
        authority, resolver = free_ports(2)
        self.authority = (LOOPBACK, authority)
        self.resolver = (LOOPBACK, resolver)
        self._knot_conf = self.folder / "knot.conf"
        self._unbound_conf = self.folder / "unbound.conf"
        self.knot = Daemon("knot", [find_program("knotd"), "-c", self._knot_conf], self.folder)
        self.unbound = Daemon("unbound", [find_program("unbound"), "-d", "-c", self._unbound_conf], self.folder)
        self._asked: list[Query] = []

    def start(self) -> Self:
        """Start both and wait until they answer."""
        try:
            (self.folder / "knot").mkdir()
            self._write_knot_conf()
            self.start_authority()
            self._write_unbound_conf()
            self.start_resolver()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Stop both and remove every file."""
        for daemon in (self.unbound, self.knot):
            daemon.ask_to_stop()
        for daemon in (self.unbound, self.knot):
            daemon.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_authority(self) -> None:
        """Start Knot DNS and wait until it answers for every zone; the resolver forgets that it was gone."""
        self.knot.start()
        for name, zone in self.zones.items():
            wanted = dns.rdatatype.DNSKEY if zone.has_signatures else dns.rdatatype.SOA
            self.knot.wait_until(partial(serves, self.authority, name, wanted), f"an answer for zone {name}")
        if self.unbound.running:
            self._run("unbound-control", "-c", self._unbound_conf, "flush_infra", "all")
            self.flush(".")

    def start_resolver(self) -> None:
        """Start Unbound, with an empty cache, and wait until it listens."""
        self.unbound.start()
        self.unbound.wait_for_port(*self.resolver)

    def stop_authority(self) -> None:
        """Stop Knot DNS; the resolver then takes a second to answer SERVFAIL for what its cache lacks."""
        self.knot.stop()

    def stop_resolver(self) -> None:
        """Stop Unbound; nothing listens on its port then."""
        self._asked += self._logged_queries()
        self.unbound.stop()
        self.unbound.log.unlink()

    def change_zone(self, name: str, zone: Zone) -> None:
        """Replace the records of a zone and make the resolver forget the old ones; signed or not stays as it was."""
        if zone.has_signatures != self.zones[name].has_signatures or zone.bogus != self.zones[name].bogus:
            raise ValueError(f"{name}: whether a zone is signed cannot change while the servers run")
        self.zones[name] = zone
        self._write_zone(name)
        self._run("knotc", "-c", self._knot_conf, "-b", "zone-reload", name)
        self.flush(name)

    def flush(self, name: str) -> None:
        """Make the resolver forget everything at and below a name."""
        self._run("unbound-control", "-c", self._unbound_conf, "flush_zone", name)

    def queries(self) -> list[Query]:
        """Return all questions that the resolver was asked since the beginning, in order."""
        return self._asked + self._logged_queries()

    def _logged_queries(self) -> list[Query]:
        if not self.unbound.log.exists():
            return []
        found = re.findall(r" info: \S+ (\S+) (\S+) IN$", self.unbound.log.read_text(), re.MULTILINE)
        return [Query(name.lower().rstrip("."), rdtype) for name, rdtype in found]

    def _write_zone(self, name: str) -> None:
        (self.folder / f"{name}.zone").write_text(self.zones[name].file_text(name))

    def _write_knot_conf(self) -> None:
        text = KNOT.format(
            folder=self.folder,
            host=LOOPBACK,
            port=self.authority[1],
            tsig_name=TSIG_NAME,
            tsig_algorithm=TSIG_ALGORITHM,
            tsig_secret=TSIG_SECRET,
        )
        for name, zone in self.zones.items():
            self._write_zone(name)
            text += f"- domain: {name}\n  dnssec-signing: {'on' if zone.has_signatures else 'off'}\n"
        self._knot_conf.write_text(text)

    def _write_unbound_conf(self) -> None:
        text = UNBOUND.format(folder=self.folder, host=LOOPBACK, port=self.resolver[1])
        known = {
            name: Elsewhere(self.authority, self._trust_anchors(name, zone) if zone.anchored else ())
            for name, zone in self.zones.items()
        }
        stubs = ""
        for name, zone in (known | self.elsewhere).items():
            text += f'  local-zone: "{name}." transparent\n'
            text += "".join(f'  trust-anchor: "{anchor}"\n' for anchor in zone.anchors)
            stubs += f'stub-zone:\n  name: "{name}."\n  stub-addr: {"{}@{}".format(*zone.address)}\n'
        self._unbound_conf.write_text(text + stubs)

    def _trust_anchors(self, name: str, zone: Zone) -> list[str]:
        """Return the DS records of a zone's key; for a bogus zone, with a digest that no key has."""
        if not zone.has_signatures:
            return []
        anchors = self._run("keymgr", "-c", self._knot_conf, name, "ds").splitlines()
        if not anchors:
            raise DaemonError(f"keymgr knows no key of {name}\n{self.knot.log_tail()}")
        if zone.bogus:
            return [re.sub(r"\S+$", lambda digest: "0" * len(digest[0]), anchor) for anchor in anchors]
        return anchors

    def _run(self, program: str, *arguments: str | Path) -> str:
        command = [find_program(program), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            words = " ".join(map(str, (program, *arguments)))
            raise DaemonError(f"{words}: {result.stdout}{result.stderr}\n{self.knot.log_tail()}")
        return result.stdout

    def __enter__(self) -> Self:
        """Start both."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
