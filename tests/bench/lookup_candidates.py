"""`onionmx serve`, onionrouter, and the echo server that nobody can be faster than; each on the last core alone."""

import os
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.lookup_load import DOMAIN
from tests.bench.measure import version_of
from tests.bench.relay_control import LOOPBACK
from tests.e2e.daemon import Daemon, free_ports
from tests.e2e.programs import PROJECT
from tests.mapfile.maps import A, make_map

Address = tuple[str, int]

MAPPED = 100
"""Domains in the map: about what the community's has. onionrouter reads it for each connection, with PyYAML."""
_PEER = "onionrouter==0.6.2"
_PYYAML = "pyyaml==5.3.1"
_BUILD = ("cython<3", "setuptools<70", "wheel")  # PyYAML 5.3.1 cannot be built with Cython 3
_CONFIGURATION = """\
[RESOLVER]
resolver_ip: {host}
resolver_port: {port}
tcp: False

[DOMAIN]
hostname: sender.example

[DNS]
srv_record: _onion-mx._tcp.

[REROUTE]
onion_transport: smtptor

[IGNORED]
domains: ignored.example
"""


@dataclass(frozen=True)
class Server:
    """One that answers lookups.

    Attributes:
        name: for the table.
        protocol: for the load.
        port: on loopback.
        expected: how its answer for a domain with a route begins.
        pid: its main process.
    """

    name: str
    protocol: str
    port: int
    expected: str
    pid: int

    @property
    def memory(self) -> int:
        """Resident memory of its main process in bytes (proc(5), VmRSS)."""
        return int(_after("VmRSS:", Path("/proc", str(self.pid), "status"))) * 1024

    @property
    def seconds_on_core(self) -> float:
        """Seconds that its main process, which has one thread, was running (Linux: scheduler/sched-stats.rst)."""
        return int(Path("/proc", str(self.pid), "schedstat").read_text().split()[0]) / 1e9


def cores() -> tuple[int, int]:
    """The cores of the generator (and of the name server), and of the server that is measured."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


@contextmanager
def echo(folder: Path) -> Iterator[Mapping[str, Server]]:
    """Run the echo server; the result has one for each protocol."""
    (port,) = free_ports(1)
    with _started("echo", [sys.executable, "-m", "tests.bench.lookup_echo", str(port)], folder, port) as pid:
        name = "echo server, uvloop " + _version("uvloop")
        yield {
            "socketmap": Server(name, "socketmap", port, "", pid),
            "tcp_table": Server(name, "tcp_table", port, "get ", pid),
        }


@contextmanager
def onionmx(folder: Path, resolver: Address) -> Iterator[Mapping[str, Server]]:
    """Run the daemon with a map and live lookups; the result has a server for each protocol."""
    socketmap, tcp_table, http = free_ports(3)
    path = make_map(folder / "map.cdb", {DOMAIN.format(number): ((A, 25),) for number in range(MAPPED)})
    (folder / "pins").touch()
    configuration = folder / "onionmx.toml"
    configuration.write_text(
        f'[map]\npath = "{path}"\n[sync]\npins = "{folder}/pins"\n'
        f'[dns]\nnameservers = ["{resolver[0]}:{resolver[1]}"]\n[lookup]\nlive = true\n'
        # The peer asks for nothing but the SRV record.
        '[authenticate]\nmode = "off"\n[serve]\n'
        f'socketmap_listen = ["{LOOPBACK}:{socketmap}"]\ntcp_table_listen = ["{LOOPBACK}:{tcp_table}"]\n'
        f'readsocket_listen = []\nhttp_listen = ["{LOOPBACK}:{http}"]\n'
        f'control = "{folder}/control"\ncache_path = ""\n'
    )
    program = Path(sys.executable).with_name("onionmx")
    with _started("serve", [program, "serve", "--config", configuration], folder, tcp_table) as pid:
        yield {
            "socketmap": Server("onionmx serve, socketmap", "socketmap", socketmap, "29:OK onion:", pid),
            "tcp_table": Server("onionmx serve, tcp_table", "tcp_table", tcp_table, "200 onion:", pid),
        }


@contextmanager
def onionrouter(folder: Path, resolver: Address) -> Iterator[Server]:
    """Run the peer with the same domains in its list, and the same resolver."""
    (port,) = free_ports(1)
    programs = _peer()
    (folder / "onionrouter.ini").write_text(_CONFIGURATION.format(host=resolver[0], port=resolver[1]))
    names = "".join(f"- {DOMAIN.format(number)}\n" for number in range(MAPPED))
    (folder / "map.yml").write_text(f"{A}:\n{names}")
    command: list[str | Path] = [programs / "onionrouter", "--host", LOOPBACK, "--port", str(port)]
    command += ["--config", folder / "onionrouter.ini", "--mappings", folder / "map.yml"]
    with _started("onionrouter", command, folder, port) as pid:
        versions = {name: _version(name, programs / "python") for name in ("onionrouter", "PyYAML")}
        name = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield Server(name, "tcp_table", port, "200 smtptor:", pid)


@contextmanager
def _started(name: str, command: Sequence[str | Path], folder: Path, port: int) -> Iterator[int]:
    pinned = ["taskset", "--cpu-list", str(cores()[1]), *command]
    with Daemon(name, pinned, folder, {"PYTHONPATH": str(PROJECT)}) as daemon:
        daemon.wait_for_port(LOOPBACK, port)
        yield daemon.pid


def _peer() -> Path:
    """The programs of an environment with onionrouter and the last PyYAML that it works with; made on first use."""
    folder = Path(sys.prefix, "onionrouter")
    ready = folder / "ready"
    if not ready.exists():
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(folder / "bin" / "pip"), "--disable-pip-version-check", "install", "-qq"]
        for wanted in (_BUILD, ("--no-build-isolation", _PYYAML), (_PEER,)):
            subprocess.run([*pip, *wanted], check=True, stdout=sys.stderr)
        ready.touch()
    return folder / "bin"


def _version(distribution: str, python: Path | str = sys.executable) -> str:
    code = f"import importlib.metadata; print(importlib.metadata.version({distribution!r}))"
    return version_of([str(python), "-c", code])


def _after(word: str, file: Path) -> str:
    return file.read_text().partition(word)[2].split()[0]
