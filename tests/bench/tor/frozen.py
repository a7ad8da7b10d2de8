"""The guard of onion services freezes, as a machine that hangs: how long it takes with `onionmx watch`, and without.

tor takes the introduction points behind it for well as long as the connection stays. The intervals are scaled down:
what the defaults add is in docs/watch.md.
"""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.measure import Row
from tests.e2e.tcp_server import tcp_server
from tests.e2e.tor_network import TorNetwork
from tests.e2e.watch_site import Greeter, Site

BUILD_TIMEOUT = 2
"""Seconds until tor gives a circuit up: in a network of seven, one of two leads through the frozen relay."""
PROBE = 30
FAILING_FOR = 4
LIMIT = 200.0
TRIAL = 30.0


def measure() -> Iterator[Row]:
    """Freeze the guard, and look at services that are watched and at one that is not."""
    with TemporaryDirectory(prefix="onionmx-bench-") as name, tcp_server(Greeter) as greeter:
        folder = Path(name)
        with TorNetwork(parent=folder) as network:
            torrc = network.services.folder / "torrc"
            text = torrc.read_text().replace("CircuitBuildTimeout 5", f"CircuitBuildTimeout {BUILD_TIMEOUT}")
            torrc.write_text(text)
            site = Site(network, folder, greeter)
            site.configure(timeout=PROBE, failing_for=FAILING_FOR, publish_pause=5, renewal_pause=120)
            yield from _measure(site)


def _measure(site: Site) -> Iterator[Row]:
    with site.watch() as watch:
        watch.wait_for_times(" reachable: 220", 2)
        frozen = site.freeze_guards()
        start = time.monotonic()
        watch.wait_for_times(" is renewed", 2)
        renewed = time.monotonic() - start
        watch.wait_for_times(" reachable: 220", 4)
        healed = time.monotonic() - start
        without = site.is_reached_by_others(site.unwatched, TRIAL)
        for daemon in frozen:
            daemon.signal(signal.SIGCONT)
    what = "onion services whose guard is frozen"
    yield Row(f"{what}, watched: renewed", f"{renewed:.1f} s")
    yield Row(f"{what}, watched: reachable", f"{healed:.1f} s", f"below {LIMIT:g} s", healed < LIMIT)
    after = f"{time.monotonic() - start:.0f} s"
    yield Row(f"{what}, not watched: reachable after {after}", "yes" if without else "no", "no", not without)
