"""How long a sound machine keeps `onionmx doctor`: on loopback, and what the distance to its own onion adds.

A private Tor network has no distance. The longest chain of questions, the dialogue with the own MX through the onion,
is therefore measured once more behind the stand-in for tor, at a round trip as on a slow circuit.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from onionmx.doctor.checks.mail import StrangerSession
from onionmx.tor.socks import SocksConnector, over_tor
from tests.bench.measure import Row
from tests.bench.relay_control import LOOPBACK, Control
from tests.e2e.daemon import Daemon, free_ports
from tests.e2e.doctor_site import DoctorSite
from tests.e2e.programs import PROJECT
from tests.e2e.receiving import DOMAIN
from tests.e2e.tor_network import TorNetwork
from tests.mapfile.maps import A

LIMIT = 15.0  # seconds
FAR = 0.6
"""Seconds of a round trip; live ones have 0.2 to 0.6 on a circuit that is warm."""
ROUNDS = 5


def measure() -> Iterator[Row]:
    """Run the doctor on a sound machine, and its dialogue with the MX from far away."""
    with TemporaryDirectory(prefix="onionmx-bench-") as name, TorNetwork() as tor:
        folder = Path(name)
        folder.chmod(0o755)
        with DoctorSite(tor, folder / "site") as site, site.serving("exim") as mta:
            site.doctor()
            near = [site.doctor() for _ in range(ROUNDS)]
            far = _dialogue(folder, mta.mta.port)
        faults = set[str]().union(*(report.faults for report in near))
    if faults:
        raise AssertionError(f"the machine is not sound: {', '.join(faults)}")
    seconds = median(report.seconds for report in near)
    yield Row("doctor, sound machine, warm circuits", f"{seconds:.1f} s", f"under {LIMIT:g} s", seconds < LIMIT)
    yield Row(
        f"doctor's dialogue with the MX, {FAR * 1000:g} ms round trip",
        f"{far:.1f} s",
        f"under {LIMIT:g} s",
        far < LIMIT,
    )


def _dialogue(folder: Path, mx: int) -> float:
    socks, control = free_ports(2)
    command = [sys.executable, "-m", "tests.bench.socks_proxy", *map(str, (socks, control, mx))]
    with Daemon("proxy", command, folder, {"PYTHONPATH": str(PROJECT)}) as proxy:
        proxy.wait_for_port(LOOPBACK, control)
        with Control(control) as distance:
            distance.ask(round_trip=FAR)
            return asyncio.run(_look(socks))


async def _look(socks: int) -> float:
    connector = SocksConnector(f"{LOOPBACK}:{socks}", LIMIT)
    try:
        client = StrangerSession(over_tor(connector), (A, 25), "mail.receiver.example", DOMAIN, "example.net")
        begin = time.perf_counter()
        await client.look()
        return time.perf_counter() - begin
    finally:
        connector.close()


if __name__ == "__main__":
    for row in measure():
        print(row.what, row.figure, row.target, sep=" | ")
