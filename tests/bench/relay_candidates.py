"""onionmx's relay and its peers: Exim with its own SOCKS transport, and Postfix with torsocks around its client."""

import json
import socket
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from os.path import relpath
from pathlib import Path

from tests.bench.measure import cpu_seconds
from tests.bench.relay_control import LOOPBACK
from tests.bench.relay_stage import DOMAIN, SESSIONS, Candidate, Stage
from tests.e2e.daemon import Daemon, free_ports
from tests.e2e.exim import DEBIAN_LIKE, Exim
from tests.e2e.postfix import Postfix
from tests.e2e.programs import UNPACKED, find_program
from tests.mapfile.maps import make_map
from tests.onions import make_onion

DOMAINS = {f"{number}.example": make_onion(number) for number in range(1, 6)}
"""Further domains, each with an onion of its own to which no session is open yet."""

NO_CACHE = "  -o smtp_connection_cache_on_demand=no\n"
"""What makes Postfix with torsocks several times faster, though no manual says so: its cache of connections passes
them from process to process, which torsocks forbids."""

HELLO = "relay.example"


class Relay:
    """One `onionmx relay`."""

    def __init__(self, daemon: Daemon, smtp_port: int, lmtp_port: int) -> None:
        self._daemon = daemon
        self.smtp = Candidate("onionmx relay, SMTP", HELLO, smtp_port)
        self.lmtp = Candidate("onionmx relay, LMTP", HELLO, lmtp_port, is_lmtp=True)

    @property
    def peak_memory(self) -> int:
        """The largest resident memory of its processes so far, in bytes, added up (proc(5), VmHWM)."""
        return self._status("VmHWM:")

    @property
    def memory(self) -> int:
        """The resident memory of its processes now, in bytes, added up."""
        return self._status("VmRSS:")

    def log_text(self) -> str:
        """Its log."""
        return self._daemon.log.read_text()

    @property
    def cpu_seconds(self) -> float:
        """That its processes have used so far."""
        return cpu_seconds(self._processes())

    @property
    def threads(self) -> int:
        """Of all its processes."""
        return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in self._processes())

    @property
    def descriptors(self) -> int:
        """Open in all its processes."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self._processes())

    def _status(self, name: str) -> int:
        found = (Path("/proc", str(pid), "status").read_text().partition(name)[2] for pid in self._processes())
        return sum(int(kilobytes.split()[0]) * 1024 for kilobytes in found)

    def _processes(self) -> list[int]:
        pid = self._daemon.pid
        children = Path("/proc", str(pid), "task", str(pid), "children").read_text().split()
        return [pid, *map(int, children)]


@contextmanager
def relay(folder: Path, stage: Stage, domains: Mapping[str, str] = DOMAINS, /, **settings: object) -> Iterator[Relay]:
    """Run one whose map has the sink, and these domains with their onions; with these settings of [relay]."""
    folder.mkdir()
    smtp, lmtp = free_ports(2)
    map_path = make_map(
        folder / "map.cdb", {domain: ((onion, 25),) for domain, onion in {DOMAIN: stage.onion, **domains}.items()}
    )
    settings = {
        "smtp_listen": [f"{LOOPBACK}:{smtp}"],
        "lmtp_listen": [f"{LOOPBACK}:{lmtp}"],
        "hostname": HELLO,
    } | settings
    sections: Mapping[str, Mapping[str, object]] = {
        "map": {"path": str(map_path)},
        "sync": {"pins": str(folder / "pins")},
        "tor": {"socks": f"{LOOPBACK}:{stage.socks_port}"},
        "relay": settings,
    }
    (folder / "pins").touch()
    configuration = folder / "onionmx.toml"
    # What JSON has of strings, numbers and lists, TOML reads the same way.
    configuration.write_text(
        "".join(
            f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
            for section, values in sections.items()
        )
    )
    program = Path(sys.executable).with_name("onionmx")
    with Daemon("relay", [program, "relay"], folder, {"ONIONMX_CONFIG": str(configuration)}) as daemon:
        daemon.wait_for_log("relay ready")
        yield Relay(daemon, smtp, lmtp)


@contextmanager
def exim(folder: Path, stage: Stage, *, queued: bool) -> Iterator[Candidate]:
    """Run Exim with the fragments of `exim/`.

    Args:
        folder: a new folder for it.
        stage: what it connects to.
        queued: whether it takes everything first, and 20 queue runners deliver it then, each over a session at a
            time; otherwise it delivers each message as it comes, over as many sessions as that takes.
    """
    parts = DEBIAN_LIKE | {
        "main/02_bench": f"queue_only = {str(queued).lower()}\nqueue_run_max = {SESSIONS}\nsmtp_accept_max = 200\n",
        # No DNSPort here, and no helper: the proxy leads every address to the sink. All else is the fragments'.
        "router/190_onionmx": "onionmx:\n  driver = manualroute\n  domains = ! +local_domains\n"
        f"  route_list = * {stage.address}\n  transport = onionmx_smtp\n  self = send\n",
    }
    macros = {"ONIONMX_SOCKS": f"{LOOPBACK} port={stage.socks_port}", "MAIN_HOST_LOOKUP": ""}

    def run_queue() -> None:
        with ThreadPoolExecutor(SESSIONS) as pool:
            list(pool.map(lambda _: server.run("-q"), range(SESSIONS)))

    with Exim(folder, f"{folder.name}.example", macros, parts) as server:
        greeting = socket.create_connection((LOOPBACK, server.port)).makefile().readline()
        version = greeting.partition("Exim ")[2].split()[0]
        yield Candidate(
            f"Exim {version}, socks_proxy", server.hostname, server.port, push=run_queue if queued else None
        )


@contextmanager
def postfix(folder: Path, stage: Stage, options: str = "") -> Iterator[Candidate]:
    """Run Postfix with torsocks as the community's manual has it; `options` are added to its SMTP client."""
    daemons = UNPACKED / "usr/lib/postfix/sbin"
    wrapper, torsocks_conf = folder / "smtp_tor", folder / "torsocks.conf"
    main = f"transport_maps = inline:{{ {{ {DOMAIN} = smtptor:[{stage.onion}]:25 }} }}\n"
    # master looks for all programs in one folder; an administrator puts the wrapper there.
    service = f"smtptor unix - - n - - {relpath(wrapper, daemons)}\n"
    master = f"{service}  -o smtp_dns_support_level=disabled -o inet_protocols=ipv4\n{options}"
    server = Postfix(folder, f"{folder.name}.example", main, master)
    torsocks_conf.write_text(f"TorAddress {LOOPBACK}\nTorPort {stage.socks_port}\n")
    wrapper.write_text(
        f'#!/bin/sh\nTORSOCKS_CONF_FILE={torsocks_conf} exec {find_program("torsocks")} {daemons}/smtp "$@"\n'
    )
    wrapper.chmod(0o755)
    # Its daemons have given up root's right to pass through a folder that is closed to others.
    folder.parent.chmod(0o755)
    with server:
        version = server.run("postconf", "-h", "mail_version").strip()
        yield Candidate(f"Postfix {version}, torsocks", server.hostname, server.port)
