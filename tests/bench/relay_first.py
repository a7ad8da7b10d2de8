"""The first message of a new session to an onion MX that is remembered: to real ones, as their makers set them up."""

import smtplib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench.measure import Row
from tests.bench.relay_candidates import relay
from tests.bench.relay_control import LOOPBACK
from tests.bench.relay_stage import DOMAIN, SENDER, StandIn, message, server
from tests.e2e.daemon import free_ports
from tests.e2e.exim import Exim
from tests.e2e.postfix import Postfix

ROUND_TRIPS = {"Exim": 1.1, "Postfix": 2.1}
"""To be reached; for a Postfix that refuses what comes behind EHLO, `ROUND_TRIPS_REFUSED`."""
ROUND_TRIPS_REFUSED = 3.05
MESSAGES = 5
IDLE = 0.2
"""Seconds that the relay keeps a session: each message shall have a new one."""


def measure(folder: Path, round_trip: float) -> Iterator[Row]:
    """Measure it at this distance, with early pipelining and without."""
    folder.mkdir()
    for name, receiver in (("Exim", Exim(folder / "exim", DOMAIN)), ("Postfix", Postfix(folder / "postfix", DOMAIN))):
        with receiver:
            yield from _to(folder / f"to-{name}", name, receiver.port, round_trip)


def _to(folder: Path, name: str, port: int, round_trip: float) -> Iterator[Row]:
    folder.mkdir()
    socks_port, control_port = free_ports(2)
    with server(folder, "socks_proxy", control_port, socks_port, control_port, port) as proxy:
        stage = StandIn(proxy, proxy, socks_port)
        stage.set_round_trip(round_trip)
        with socket.create_connection((LOOPBACK, port)) as connection:
            version = " ".join(connection.makefile().readline().split("ESMTP ")[1].split()[:2])
        for is_early in (False, True):
            with relay(folder / f"relay-{is_early}", stage, early_pipelining=is_early, idle_timeout=IDLE) as ours:
                needed = _round_trips(ours.smtp.port, round_trip)
                log = ours.log_text()
            what = f"{round_trip * 1000:g} ms, the first message of a session to a remembered {version}"
            if not is_early:
                yield Row(f"{what}, early pipelining off", f"{needed:.2f} round trips")
                continue
            limit = ROUND_TRIPS[name] if "session=early" in log else ROUND_TRIPS_REFUSED
            yield Row(what, f"{needed:.2f} round trips", f"at most {limit:g}", needed <= limit)


def _round_trips(port: int, round_trip: float) -> float:
    """Between the client's MAIL and the final reply."""
    times = []
    for _ in range(MESSAGES + 2):  # of the first two the peer is learnt
        with smtplib.SMTP(LOOPBACK, port, "generator.example") as session:
            session.ehlo()
            start = time.monotonic()
            session.sendmail(SENDER, f"alice@{DOMAIN}", message())
            times.append((time.monotonic() - start) / round_trip)
        time.sleep(IDLE + 2 * round_trip)
    return median(times[2:])
