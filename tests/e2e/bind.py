"""BIND as the primary name server of some zones, and Knot DNS as a secondary that hears of changes only when told.

The options: BIND 9 Administrator Reference Manual; knot.conf(5).
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.dnssec
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.rdtypes.ANY.DNSKEY

from .daemon import Daemon, DaemonError, free_ports
from .name_servers import LOOPBACK, QUERY_TIMEOUT, TSIG_ALGORITHM, TSIG_NAME, TSIG_SECRET, Elsewhere, Zone, serves
from .programs import UNPACKED, find_program

SECONDARY = "127.0.0.2"
"""Address of the secondary; its port is that of the primary."""

NAMED = """\
options {{
  directory "{folder}";
  listen-on port {port} {{ {host}; }};
  listen-on-v6 {{ none; }};
  pid-file none;
  session-keyfile "{folder}/session.key";
  recursion no;
  notify no;
  dnssec-validation no;
  allow-transfer {{ any; }};
}};
controls {{ }};
key "{tsig_name}" {{ algorithm {tsig_algorithm}; secret "{tsig_secret}"; }};
"""
NAMED_ZONE = """\
zone "{name}" {{
  type primary;
  file "{folder}/{name}.zone";
  allow-update {{ {update} }};
  dnssec-policy {policy};
}};
"""
KNOT_SECONDARY = """\
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
remote:
- id: primary
  address: {primary}@{primary_port}
  key: {tsig_name}
template:
- id: default
  storage: {folder}
  file: "%s.zone"
  master: primary
  # Only told by the test: no NOTIFY is sent, and the first refresh would be after the hour that the SOA says.
  refresh-min-interval: 1h
zone:
"""


def environment() -> dict[str, str]:
    """What BIND's programs need to find the libraries that were unpacked with them."""
    folders = [str(path) for path in (UNPACKED / "usr/lib").glob("*-linux-*")]
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": os.pathsep.join(folders + ([inherited] if inherited else []))}


class Bind:
    """`named` with authority over some zones, on 127.0.0.1; it takes updates that are signed with the tests' key.

    Zones in ``closed`` take none.
    """

    def __init__(self, zones: Mapping[str, Zone], closed: frozenset[str] = frozenset()) -> None:
        self.zones = dict(zones)
        self.closed = closed
        self.folder = Path(tempfile.mkdtemp(prefix="onionmx-bind-"))
        self.address = (LOOPBACK, free_ports(1)[0])
        command: list[str | Path] = [find_program("named"), "-g", "-c", self.folder / "named.conf"]
        self.named = Daemon("named", command, self.folder, environment())

    def start(self) -> Self:
        """Start it and wait until it answers for every zone."""
        try:
            self._write()
            self.named.start()
            for name, zone in self.zones.items():
                wanted = dns.rdatatype.DNSKEY if zone.signed else dns.rdatatype.SOA
                self.named.wait_until(partial(serves, self.address, name, wanted), f"an answer for zone {name}")
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Stop it and remove every file."""
        self.named.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def elsewhere(self) -> dict[str, Elsewhere]:
        """The zones as the resolver is to know them."""
        return {
            name: Elsewhere(self.address, self._anchors(name) if zone.signed else ())
            for name, zone in self.zones.items()
        }

    def _anchors(self, name: str) -> list[str]:
        origin = dns.name.from_text(name)
        query = dns.message.make_query(origin, dns.rdatatype.DNSKEY)
        reply = dns.query.tcp(query, self.address[0], QUERY_TIMEOUT, port=self.address[1])
        anchors = []
        for key in reply.find_rrset(reply.answer, origin, dns.rdataclass.IN, dns.rdatatype.DNSKEY):
            assert isinstance(key, dns.rdtypes.ANY.DNSKEY.DNSKEY)
            anchors.append(f"{name}. DS {dns.dnssec.make_ds(origin, key, 'SHA256')}")
        return anchors

    def _write(self) -> None:
        words = {"tsig_name": TSIG_NAME, "tsig_algorithm": TSIG_ALGORITHM, "tsig_secret": TSIG_SECRET}
        text = NAMED.format(folder=self.folder, host=self.address[0], port=self.address[1], **words)
        for name, zone in self.zones.items():
            (self.folder / f"{name}.zone").write_text(zone.file_text(name))
            text += NAMED_ZONE.format(
                folder=self.folder,
                name=name,
                update="none;" if name in self.closed else f'key "{TSIG_NAME}";',
                policy="default" if zone.signed else "none",
            )
        (self.folder / "named.conf").write_text(text)

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


class Secondary:
    """`knotd` on 127.0.0.2 with copies of a primary's zones, on the primary's port; it lags until `catch_up`."""

    def __init__(self, primary: tuple[str, int], zones: list[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="onionmx-secondary-"))
        self.zones = zones
        self.address = (SECONDARY, primary[1])
        self._primary = primary
        self._conf = self.folder / "knot.conf"
        self.knot = Daemon("knot", [find_program("knotd"), "-c", self._conf], self.folder)

    def start(self) -> Self:
        """Start it and wait until it has its first copy of every zone."""
        try:
            (self.folder / "knot").mkdir()
            text = KNOT_SECONDARY.format(
                folder=self.folder,
                host=self.address[0],
                port=self.address[1],
                primary=self._primary[0],
                primary_port=self._primary[1],
                tsig_name=TSIG_NAME,
                tsig_algorithm=TSIG_ALGORITHM,
                tsig_secret=TSIG_SECRET,
            )
            self._conf.write_text(text + "".join(f"- domain: {name}\n" for name in self.zones))
            self.knot.start()
            for name in self.zones:
                answered = partial(serves, self.address, name, dns.rdatatype.SOA)
                self.knot.wait_until(answered, f"a copy of zone {name}")
        except BaseException:
            self.close()
            raise
        return self

    def catch_up(self) -> None:
        """Fetch the zones anew from the primary; they are there when this returns."""
        for name in self.zones:
            command: list[str | Path] = [find_program("knotc"), "-c", self._conf, "-b", "zone-retransfer", name]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                raise DaemonError(f"zone-retransfer {name}: {result.stdout}{result.stderr}\n{self.knot.log_tail()}")

    def close(self) -> None:
        """Stop it and remove every file."""
        self.knot.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
