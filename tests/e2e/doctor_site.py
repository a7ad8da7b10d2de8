"""A machine for the doctor: tor with an onion service, name servers with the record, both daemons, a receiving MTA."""

import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from onionmx.doctor.checks import TOPICS
from tests.mapfile.maps import A

from .daemon import Daemon, free_ports
from .name_servers import NameServers, Zone
from .postfix import Postfix
from .receiving import DOMAIN, Receiver, receiver
from .relay import ONIONMX, Relay
from .socks import Address, SocksError, socks_connect
from .tor_network import TorNetwork
from .tor_node import LOOPBACK, ControlledTor

UNSIGNED = "unsigned.test"
WITHOUT = "without.test"
WRONG = "wrong.test"
GOOD_FLAGS = "ExtendedErrors OnionTrafficOnly"
MX_PORT = 25
# What runs here is started by hand, as the user of the tests, and no unit keeps it apart.
CHECKS = [word for topic in TOPICS if topic.name != "isolation" for word in ("--check", topic.name)]
RELOADED = "Read configuration file"


@dataclass(frozen=True)
class Torrc:
    """What can be wrong with a torrc; the defaults are right."""

    automap: str = "AutomapHostsOnResolve 1"
    dnsport: str = "DNSPort 127.0.0.1:{dnsport}"
    control: str = "ControlPort 127.0.0.1:{control}"
    long_lived: str = "LongLivedPorts 21,22,25"
    service: str = "HiddenServiceDir {folder}/service\nHiddenServicePort 25 {forward}"
    more: str = ""


class DoctorTor(ControlledTor):
    """The tor of the machine. Each kind of SOCKS port has a port of its own: tor changes no flags at a reload."""

    def __init__(self, folder: Path, authority: str) -> None:
        """Choose the ports; the service leads nowhere yet."""
        super().__init__("doctor", folder, "")
        ports = free_ports(5)
        self.socks, self.terse_socks, self.open_socks = ((LOOPBACK, port) for port in ports[:3])
        self.unix_socks = folder / "socks"
        self.dnsport: Address = (LOOPBACK, ports[3])
        self.nowhere: Address = (LOOPBACK, ports[4])
        self._authority = authority
        self._write(self.text(Torrc(), self.nowhere))

    def text(self, torrc: Torrc, forward: Address) -> str:
        """The whole torrc."""
        lines = (
            self._authority,
            f"SocksPort {LOOPBACK}:{self.socks[1]} {GOOD_FLAGS}",
            f"SocksPort unix:{self.unix_socks} {GOOD_FLAGS}",
            f"SocksPort {LOOPBACK}:{self.terse_socks[1]} OnionTrafficOnly",
            f"SocksPort {LOOPBACK}:{self.open_socks[1]} ExtendedErrors",
            f"CookieAuthentication 1\nCookieAuthFile {self.cookie}",
            *(torrc.automap, torrc.dnsport, torrc.control, torrc.long_lived, torrc.service, torrc.more),
        )
        return "".join(f"{line}\n" for line in lines).format(
            dnsport=self.dnsport[1],
            control=self.control[1],
            folder=self.folder,
            nowhere=self.nowhere[1],
            forward=f"{forward[0]}:{forward[1]}",
        )

    @property
    def onion(self) -> str:
        """The host name of the service; tor has written it when it starts to bootstrap."""
        return (self.folder / "service" / "hostname").read_text().strip()

    def reconfigure(self, torrc: Torrc, forward: Address) -> None:
        """Reload, and wait until tor has done so."""
        done = self.daemon.log_text().count(RELOADED)
        self.configure(self.text(torrc, forward))
        self.daemon.wait_until(lambda: self.daemon.log_text().count(RELOADED) > done, "a reload")
        # It writes that line before it acts on it, and answers nobody in between.
        with suppress(SocksError):
            socks_connect(self.socks, "not-an-onion", MX_PORT)


class PublicNameServers(NameServers):
    """Name servers of which the authority is also where NS records lead: at port 53 of an address of its own."""

    def __init__(self, zones: Mapping[str, Zone], parent: Path) -> None:
        """Choose the address."""
        super().__init__(zones, parent)
        self.public = "127." + ".".join(str(secrets.choice(range(1, 255))) for _ in range(3))

    def _write_zone(self, name: str) -> None:
        super()._write_zone(name)
        file = self.folder / f"{name}.zone"
        file.write_text(file.read_text().replace(f"ns A {LOOPBACK}", f"ns A {self.public}"))

    def _write_knot_conf(self) -> None:
        super()._write_knot_conf()
        text = self._knot_conf.read_text()
        local = f"{LOOPBACK}@{self.authority[1]}"
        self._knot_conf.write_text(text.replace(f"listen: {local}\n", f"listen: [{local}, {self.public}@53]\n", 1))


class DoctorSite:
    """A sound onion MX, for one fault at a time.

    Args:
        tor: a private Tor network that runs.
        folder: a new folder, open to plain users.
    """

    def __init__(self, tor: TorNetwork, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o755)
        self.map = folder / "relay" / "onionmx.cdb"
        authority = re.search(r"^DirAuthority .*$", (tor.client.folder / "torrc").read_text(), re.MULTILINE)
        assert authority is not None
        self.tor = DoctorTor(folder / "tor", authority[0])
        self._started = ExitStack()
        self._numbers = count(1)
        self._environment: Mapping[str, str] = {}

    def start(self) -> Self:
        """Start all but the MTA."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        self.tor.start()
        self._started.callback(self.tor.stop)
        self.tor.wait_until_bootstrapped()
        record = f"_onion-mx._tcp 3600 SRV 0 5 25 {self.tor.onion}."
        zones = {
            DOMAIN: Zone(record, signed=True),
            UNSIGNED: Zone(record),
            WITHOUT: Zone("@ MX 10 mail", signed=True),
            WRONG: Zone(f"_onion-mx._tcp 3600 SRV 0 5 25 {A}.", signed=True),
        }
        self.dns = self._started.enter_context(PublicNameServers(zones, self.folder))
        self.relay = Relay(self.folder / "relay", self.tor.socks)
        self.relay.publish({"example.org": A})
        self._started.enter_context(self.relay)
        kinds = ("socketmap", "tcp_table", "readsocket", "http")
        self._sockets = dict(zip(kinds, free_ports(len(kinds)), strict=True))
        file = self.folder / "serve.toml"
        file.write_text(self.configuration({}))
        serve = self._started.enter_context(Daemon("serve", [ONIONMX, "serve", "--config", file], self.folder))
        for port in self._sockets.values():
            serve.wait_for_port(LOOPBACK, port)

    def configuration(self, changes: Mapping[str, str]) -> str:
        """The configuration of the doctor as TOML.

        Args:
            changes: values as TOML by `section.key`, over those that are right.
        """
        socks, dnsport, control = (
            f'"{host}:{port}"' for host, port in (self.tor.socks, self.tor.dnsport, self.tor.control)
        )
        values = {
            "local.domains": f'["{DOMAIN}"]',
            "map.path": f'"{self.map}"',
            "sync.pins": f'"{self.folder}/relay/pins"',
            "dns.nameservers": f'["{LOOPBACK}:{self.dns.resolver[1]}"]',
            "dns.timeout": "30.0",
            "tor.socks": socks,
            "tor.dnsport": dnsport,
            "tor.control": control,
            "relay.smtp_listen": f'["{LOOPBACK}:{self.relay.smtp[1]}"]',
            "relay.lmtp_listen": f'["{LOOPBACK}:{self.relay.lmtp[1]}"]',
            "relay.hostname": '"mail.receiver.example"',
            "serve.control": f'"{self.folder}/serve.sock"',
            "serve.cache_path": '""',
            **{f"serve.{kind}_listen": f'["{LOOPBACK}:{port}"]' for kind, port in self._sockets.items()},
        }
        sections: dict[str, list[str]] = {}
        for key, value in (values | dict(changes)).items():
            section, name = key.split(".")
            sections.setdefault(section, []).append(f"{name} = {value}\n")
        return "".join(f"[{section}]\n{''.join(lines)}" for section, lines in sections.items())

    @contextmanager
    def serving(self, name: str) -> Iterator[Receiver]:
        """Run a receiving MTA behind the onion service."""
        with receiver(name, self.folder / f"{name}-{next(self._numbers)}") as mta:
            options = "HiddenServiceExportCircuitID haproxy" if mta.proxy_protocol else ""
            self.tor.reconfigure(Torrc(more=options), mta.forward)
            self._environment = mta.mta.environment if isinstance(mta.mta, Postfix) else {}
            yield mta

    def doctor(self, *words: str, **changes: str) -> "Report":
        """Run `onionmx doctor`; keys of the configuration that differ have `__` instead of the dot.

        Without a `--check` all of them are made but that of isolation.
        """
        file = self.folder / "doctor.toml"
        file.write_text(self.configuration({key.replace("__", "."): value for key, value in changes.items()}))
        checks = [] if "--check" in words else CHECKS
        command: list[str | Path] = [ONIONMX, "doctor", "--json", "--config", file, *words, *checks]
        begin = time.monotonic()
        result = subprocess.run(
            command, env=os.environ | self._environment, capture_output=True, text=True, check=False
        )
        assert result.stdout, result.stderr
        return Report(result.returncode, json.loads(result.stdout)["findings"], time.monotonic() - begin)

    def close(self) -> None:
        """Stop everything."""
        self._started.close()

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


@dataclass(frozen=True)
class Report:
    """What the doctor has said."""

    exit_code: int
    findings: Sequence[Mapping[str, str]]
    seconds: float

    @property
    def faults(self) -> set[str]:
        """Names of the checks with a warning or a problem."""
        return {one["check"] for one in self.findings if one["severity"] in {"warning", "problem"}}

    def of(self, check: str) -> list[Mapping[str, str]]:
        """The findings of one check."""
        return [one for one in self.findings if one["check"] == check]

    def __str__(self) -> str:
        lines = [f"{one['severity']:12} {one['check']}: {one['seen']}" for one in self.findings]
        return "\n".join([*lines, f"exit {self.exit_code} after {self.seconds:.1f} s"])
