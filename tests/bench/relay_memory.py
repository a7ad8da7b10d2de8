"""Memory: many large messages through the relay at once, each byte compared at the sink; and many sessions."""

import asyncio
import hashlib
import smtplib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.measure import Row
from tests.bench.mta import Mta
from tests.bench.relay_candidates import Relay, relay
from tests.bench.relay_control import LOOPBACK
from tests.bench.relay_stage import DOMAIN, SENDER, stage
from tests.onions import make_onion

MESSAGES = 50
SIZE = 25_000_000
LIMIT = 150_000_000
ROUND_TRIP = 0.3
ONIONS = {f"{number}.example": make_onion(number) for number in range(50)}
MTA_SESSIONS = 500
PATIENCE = 300.0
"""Seconds that one message may wait for its turn."""


def measure(folder: Path) -> Iterator[Row]:
    """Send them through a relay of default settings, and look at the largest memory it ever had."""
    folder.mkdir()
    with stage(folder, "--digests") as scene, relay(folder / "relay", scene) as candidate:
        scene.set_round_trip(ROUND_TRIP)
        with ThreadPoolExecutor(MESSAGES) as pool:
            list(pool.map(lambda number: _send(candidate.smtp.port, number), range(MESSAGES)))
        figures = scene.sink.ask(wait=MESSAGES)
        peak = candidate.peak_memory
    what = f"{MESSAGES} messages of {SIZE / 1e6:g} MB at once"
    yield Row(f"{what}: peak resident memory", f"{peak / 1e6:.0f} MB", f"below {LIMIT / 1e6:g} MB", peak < LIMIT)
    yield Row(
        f"{what}: equal in every byte",
        f"{figures['equal']}, unequal {figures['unequal']}",
        f"{MESSAGES}",
        figures["equal"] == MESSAGES == len(figures["times"]),
    )


def measure_sessions(folder: Path) -> Iterator[Row]:
    """Open many sessions on both sides, and look at the memory that they take while nothing happens."""
    folder.mkdir()
    with stage(folder) as scene, relay(folder / "relay", scene, ONIONS) as candidate:
        scene.set_round_trip(ROUND_TRIP)
        before = candidate.memory
        memory, descriptors = asyncio.run(_open_many(candidate))
        sessions = scene.sink.ask()["most_sessions"][candidate.lmtp.hello]
    each = (memory - before) / (sessions + MTA_SESSIONS)
    yield Row(
        f"{sessions} sessions with {len(ONIONS)} onion MXes, {MTA_SESSIONS} with the MTA",
        f"{each / 1e3:.0f} kB for each, {before / 1e6:.0f} MB before, {descriptors} descriptors",
    )


async def _open_many(candidate: Relay) -> tuple[int, int]:
    mta = Mta(candidate.lmtp.port, [*ONIONS] * (MTA_SESSIONS // len(ONIONS)), MTA_SESSIONS)
    await mta.begin()
    await mta.until(MTA_SESSIONS, positive=True)
    found = candidate.memory, candidate.descriptors
    await mta.end()
    return found


def _send(port: int, number: int) -> None:
    """Send a message that no other is equal to, with lines that begin with dots."""
    lines = (f"{number:02} {line:04} {'abcdefghij' * 6}\r\n{'.' * (line % 3)}\r\n" for line in range(1000))
    block = "".join(lines).encode().replace(b"\r\n.\r\n", b"\r\n.dot\r\n")
    count = SIZE // len(block)
    start = f"Subject: {number}\r\n\r\n".encode()
    digest = hashlib.sha256(start)
    for _ in range(count):
        digest.update(block)
    stuffed = block.replace(b"\r\n.", b"\r\n..")
    with smtplib.SMTP(LOOPBACK, port, "generator.example", timeout=PATIENCE) as session:
        session.ehlo()
        session.mail(SENDER)
        session.rcpt(f"user@{DOMAIN}")
        session.docmd("DATA")
        assert session.sock is not None
        session.sock.sendall(f"X-Bench-Digest: {digest.hexdigest()}\r\n".encode() + start)
        for _ in range(count):
            session.sock.sendall(stuffed)
        session.sock.sendall(b".\r\n")
        code, text = session.getreply()
    if code != 250:
        raise AssertionError(f"message {number} was answered {code} {text!r}")
