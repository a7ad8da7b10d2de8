"""Large messages over a private Tor network: through the relay, and by curl to the same onion service."""

import smtplib
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.measure import Row, at_most
from tests.bench.relay_candidates import Relay, relay
from tests.bench.relay_control import LOOPBACK
from tests.bench.relay_stage import DOMAIN, SENDER, message
from tests.bench.tor.bench import FAR
from tests.bench.tor.scene import TorStage, tor_stage
from tests.e2e.programs import find_program

SIZE = 25_000_000
ROUNDS = {0.0: 3, FAR: 3}
"""Seconds of a round trip that are added, and how often each sends its message then."""
TIMES = 1.1
STREAMS = 6
"""At once, for the memory of each."""
MEMORY = 3_000_000
PATIENCE = 300.0
"""Seconds that one message may take."""
_LINE = b"La de da de da de da de da de da de da de da de da de da de da de da\r\n"
_CONTENT = b"Subject: bench\r\n\r\n" + _LINE * (SIZE // len(_LINE))


def measure() -> Iterator[Row]:
    """Measure near and far."""
    for round_trip, rounds in ROUNDS.items():
        with TemporaryDirectory(prefix="onionmx-bench-") as name, tor_stage(Path(name) / "tor", round_trip, 0) as scene:
            what = f"{SIZE / 1e6:g} MB over Tor, {scene.round_trip * 1000:.0f} ms"
            yield from _beside_curl(Path(name), scene, what, rounds)
            if not round_trip:
                with relay(Path(name) / "memory", scene) as ours:
                    yield _memory(ours, what)


def _beside_curl(folder: Path, scene: TorStage, what: str, rounds: int) -> Iterator[Row]:
    """Send in turn, in each round on other circuits that stand already: no two of them are equally fast."""
    large, small = folder / "large", folder / "small"
    large.write_bytes(_CONTENT)
    small.write_bytes(message())
    times: dict[str, list[float]] = {"onionmx relay": [], "curl": []}
    for number in range(rounds):
        isolation = f"round{number}"
        with relay(folder / isolation, scene) as ours:
            _send(ours, message())
            _curl(scene, small, isolation)
            times["onionmx relay"].append(_send(ours, _CONTENT))
            times["curl"].append(_curl(scene, large, isolation))
    for name, seconds in times.items():
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        yield Row(f"{what}, {name}", f"{median(seconds):.2f} s ({spread}), {SIZE / median(seconds) / 1e6:.1f} MB/s")
    yield at_most(f"{what}, onionmx relay / curl", median(times["onionmx relay"]) / median(times["curl"]), TIMES)


def _memory(ours: Relay, what: str) -> Row:
    _send(ours, message())
    before = ours.memory
    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(lambda _: _send(ours, _CONTENT), range(STREAMS)))
    each = (ours.peak_memory - before) / STREAMS
    needed = f"{each / 1e6:.2f} MB, {before / 1e6:.0f} MB before"
    return Row(
        f"{what}, {STREAMS} at once: resident memory for each", needed, f"below {MEMORY / 1e6:g} MB", each < MEMORY
    )


def _send(ours: Relay, content: bytes) -> float:
    """Hand a message to the relay; seconds from the connection to the final reply."""
    start = time.monotonic()
    with smtplib.SMTP(LOOPBACK, ours.smtp.port, "generator.example", timeout=PATIENCE) as session:
        session.ehlo()
        session.mail(SENDER)
        session.rcpt(f"user@{DOMAIN}")
        session.docmd("DATA")
        assert session.sock is not None
        session.sock.sendall(content)
        session.sock.sendall(b".\r\n")
        code, text = session.getreply()
        seconds = time.monotonic() - start
    if code != 250:
        raise AssertionError(f"answered {code} {text!r}")
    return seconds


def _curl(scene: TorStage, file: Path, isolation: str) -> float:
    """Send it by curl; seconds from the connection to the final reply."""
    command: list[str | Path] = [find_program("curl"), "--silent", "--show-error", "--max-time", str(PATIENCE)]
    command += ["--socks5-hostname", f"{LOOPBACK}:{scene.socks_port}", f"smtp://{scene.onion}:25/generator.example"]
    command += [
        "--proxy-user",
        f"{isolation}:x",
        "--mail-from",
        SENDER,
        "--mail-rcpt",
        f"user@{DOMAIN}",
        "--upload-file",
        file,
    ]
    command += ["--write-out", "%{time_total}"]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return float(output.decode().splitlines()[-1])
