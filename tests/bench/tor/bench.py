"""The relay with its defaults over a private Tor network, near and far, and its peers beside it in the same run."""

import smtplib
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.measure import Row
from tests.bench.relay_candidates import NO_CACHE, Relay, exim, postfix, relay
from tests.bench.relay_control import LOOPBACK
from tests.bench.relay_stage import SENDER, SESSIONS, Candidate, message
from tests.bench.tor.scene import TorStage, tor_stage

FAR = 0.3
"""Seconds of a round trip that the links are made for."""
ONIONS = 3
"""To which a first message is sent."""
PER_SESSION = 10
"""Messages, by default: the one after them opens a session on the circuit that stands."""
PEER_MESSAGES = 3
SENDERS = {20: 300, 100: 1000}
"""Sessions of the generator, and how many messages it sends over them."""


def measure() -> Iterator[Row]:
    """Measure near and far."""
    for round_trip in (0.0, FAR):
        with TemporaryDirectory(prefix="onionmx-bench-") as name:
            folder = Path(name)
            folder.chmod(0o755)  # Postfix's daemons pass through
            with tor_stage(folder / "tor", round_trip, ONIONS) as scene:
                yield from _measure(folder, scene, "far" if round_trip else "near")


def _measure(folder: Path, scene: TorStage, where: str) -> Iterator[Row]:
    what = f"Tor, {where}"
    yield Row(f"{what}: a round trip over a circuit", f"{scene.round_trip * 1000:.0f} ms")
    onions = {f"{number}.example": onion for number, onion in enumerate(scene.onions)}
    with relay(folder / "relay", scene, onions) as ours:
        yield from _single(scene, ours, list(onions), what)
        yield from _sustained(scene, ours, f"{what}, onionmx relay")
    with relay(folder / "workers", scene, workers=2) as ours:
        yield from _sustained(scene, ours, f"{what}, onionmx relay, 2 workers")
    with ExitStack() as running:
        as_found = running.enter_context(postfix(folder / "postfix", scene))
        tuned = running.enter_context(postfix(folder / "tuned", scene, NO_CACHE))
        direct = running.enter_context(exim(folder / "exim", scene, queued=False))
        queued = running.enter_context(exim(folder / "queued", scene, queued=True))
        for peer in (as_found, direct):
            seconds = median(scene.seconds(peer) for _ in range(PEER_MESSAGES))
            yield Row(f"{what}, {peer.name}: a message", _seconds(seconds, scene))
        count = 3 * SESSIONS if where == "far" else 10 * SESSIONS
        yield _rate(scene, as_found, f"{what}, {as_found.name}", count=2 * SESSIONS)
        yield _rate(scene, tuned, f"{what}, {tuned.name}, connection cache off", count=count)
        if where == "far":
            yield _rate(scene, queued, f"{what}, {queued.name}, {SESSIONS} queue runners", count=count)
        else:
            yield _rate(scene, direct, f"{what}, {direct.name}", count=count)


def _single(scene: TorStage, ours: Relay, domains: Sequence[str], what: str) -> Iterator[Row]:
    """The first message to an onion, those that follow on its session, and the one that opens another session."""
    first: list[float] = []
    following: list[float] = []
    next_session: list[float] = []
    early: list[float] = []
    for domain in domains:
        with smtplib.SMTP(LOOPBACK, ours.smtp.port, "generator.example") as session:
            session.ehlo()
            seconds = [_send(session, domain) for _ in range(PER_SESSION + 1)]
            scene.sink.ask(pipe_connect=True)  # which the session after the next one makes use of
            seconds += [_send(session, domain) for _ in range(2 * PER_SESSION)]
            scene.sink.ask(pipe_connect=False)
        first.append(seconds[0])
        following += seconds[1:PER_SESSION]
        next_session.append(seconds[PER_SESSION])
        early.append(seconds[3 * PER_SESSION])
    for which, values in (
        ("the first message to an onion, circuit included", first),
        ("on an open session", following),
        ("on a new session, the circuit stands", next_session),
        ("the same, to one that announced PIPECONNECT", early),
    ):
        yield Row(f"{what}, onionmx relay: {which}", _seconds(median(values), scene))


def _send(session: smtplib.SMTP, domain: str) -> float:
    start = time.monotonic()
    session.sendmail(SENDER, f"user@{domain}", message())
    return time.monotonic() - start


def _seconds(seconds: float, scene: TorStage) -> str:
    trips = f", {seconds / scene.round_trip:.2f} round trips" if scene.round_trip > FAR / 2 else ""
    return f"{seconds:.3f} s{trips}"


def _sustained(scene: TorStage, ours: Relay, what: str) -> Iterator[Row]:
    for sessions, count in SENDERS.items():
        before = ours.cpu_seconds, scene.cpu_seconds
        yield _rate(scene, ours.smtp, what, count=count, sessions=sessions)
        used = ours.cpu_seconds - before[0], scene.cpu_seconds - before[1]
        relay_cpu, tor_cpu = (f"{seconds / count * 1000:.2f} s" for seconds in used)
        yield Row(f"{what}: CPU for 1000 messages", f"relay {relay_cpu}, all tor processes {tor_cpu}")


def _rate(scene: TorStage, candidate: Candidate, what: str, *, count: int, sessions: int = SESSIONS) -> Row:
    burst = scene.burst(candidate, count, keep=True, sessions=sessions)
    figure = f"{burst.rate:.0f} msg/s, {burst.sessions} sessions"
    if candidate.push is None and scene.round_trip > FAR / 2:
        figure += f"; waiting for each reply allows {sessions / scene.round_trip:.0f}"
    return Row(f"{what}: sustained, {sessions} sender sessions", figure)
