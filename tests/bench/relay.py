"""The relay beside what users have today: the same generator, the same stand-in for tor, the same sink, in one run."""

import os
import smtplib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench import relay_first, relay_memory
from tests.bench.measure import Row
from tests.bench.relay_candidates import DOMAINS, NO_CACHE, Relay, exim, postfix, relay
from tests.bench.relay_control import LOOPBACK
from tests.bench.relay_stage import SENDER, SESSIONS, Burst, Candidate, Stage, message, stage

FAR = 0.3
"""Seconds of a round trip over Tor."""
MANY = 100
"""The generator's sessions where 20 of them, each waiting for its own answer, could not ask for enough."""
MODES = {True: "kept", False: "closed"}
"""The generator's two ways with a session after a message."""

CPU_COUNT = 3000
CPU_LIMIT = 0.5
"""Seconds for 1000 messages of 4 KB over kept sessions of the generator."""

ROUND_TRIPS_OPEN = 1.15
ROUND_TRIPS_FIRST = 3.3
ONE_SESSION_RATE = 150.0
TIMES_FAR = 15.0
TIMES_NEAR = 5.0


@dataclass(frozen=True)
class Run:
    """What is sent through a candidate in one burst."""

    candidate: Candidate
    count: int
    sessions: int = SESSIONS
    name: str = ""
    rounds: int = 2

    def __str__(self) -> str:
        """Its name in the table."""
        return self.name or self.candidate.name


class Rates:
    """The bursts of one run, in each of the generator's modes."""

    def __init__(self) -> None:
        self._bursts: dict[bool, list[Burst]] = {keep: [] for keep in MODES}

    def add(self, burst: Burst, *, keep: bool) -> None:
        """Take one burst."""
        self._bursts[keep].append(burst)

    def median(self, *, keep: bool) -> float:
        """Messages a second."""
        return median(burst.rate for burst in self._bursts[keep])

    @property
    def least(self) -> float:
        """Messages a second in the slower mode."""
        return min(self.median(keep=keep) for keep in MODES)

    @property
    def sessions(self) -> int:
        """The most sessions at the sink at once."""
        return max(burst.sessions for bursts in self._bursts.values() for burst in bursts)

    def __str__(self) -> str:
        """Both modes, and what they cost at the sink."""
        rates = ", ".join(f"{self.median(keep=keep):.0f}" for keep in MODES)
        return f"{rates} msg/s, {self.sessions} sessions"


def measure() -> Iterator[Row]:
    """Measure one message, many messages, and large messages."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    yield Row("rates: with the generator's sessions kept, and closed", f"{cores} cores, load before {load:.1f}")
    with TemporaryDirectory(prefix="onionmx-bench-") as name:
        folder = Path(name)
        with ExitStack() as running:
            yield from _beside_peers(folder, running)
        yield from relay_first.measure(folder / "first", FAR)
        yield from relay_memory.measure(folder / "memory")
        yield from relay_memory.measure_sessions(folder / "sessions")


def _beside_peers(folder: Path, running: ExitStack) -> Iterator[Row]:
    scene = running.enter_context(stage(folder))
    as_found = running.enter_context(postfix(folder / "postfix", scene))
    tuned = running.enter_context(postfix(folder / "tuned", scene, NO_CACHE))
    direct = running.enter_context(exim(folder / "exim", scene, queued=False))
    queued = running.enter_context(exim(folder / "queued", scene, queued=True))
    scene.set_round_trip(FAR)
    with relay(folder / "single", scene) as ours:
        yield from _one_message(scene, ours.smtp, [as_found, direct])
    with relay(folder / "far", scene, sessions_per_onion=SESSIONS) as ours:
        yield from _sustained(
            scene,
            f"sustained, {FAR * 1000:g} ms",
            ours=[Run(ours.smtp, 200)],
            today=[Run(as_found, 100, rounds=1)],
            best=[
                Run(tuned, 60, name=f"{tuned.name}, connection cache off"),
                Run(queued, 60, name=f"{queued.name}, {SESSIONS} queue runners"),
            ],
            shown=[Run(ours.lmtp, 200)],
            wide=[Run(ours.smtp, 600, MANY, name=f"{ours.smtp.name}, {MANY} sessions of the generator")],
            target=TIMES_FAR,
        )
    # As an operator may say of an onion MX that takes as many: what one session can carry.
    one = {"sessions_per_onion": 1, "transactions_in_flight": MANY, "messages_per_session": 1000}
    with relay(folder / "one", scene, **one) as ours:
        run = Run(ours.smtp, 600, MANY)
        rates = _bursts(scene, [run])[run]
        yield Row(
            f"sustained, {FAR * 1000:g} ms, one session ({MANY} of the generator)",
            str(rates),
            f"at least {ONE_SESSION_RATE:g}",
            rates.least >= ONE_SESSION_RATE and rates.sessions == 1,
        )
    scene.set_round_trip(0)
    cores = len(os.sched_getaffinity(0))
    with relay(folder / "cpu", scene) as ours:
        yield from _processor_time(scene, ours)
    with relay(folder / "near", scene, sessions_per_onion=SESSIONS // cores, workers=cores) as ours:
        yield from _sustained(
            scene,
            "sustained, 0 ms",
            ours=[Run(ours.smtp, 1000, rounds=3)],
            today=[Run(as_found, 100, rounds=1), Run(direct, 200, rounds=3)],
            best=[Run(tuned, 400, rounds=3, name=f"{tuned.name}, connection cache off")],
            shown=[Run(ours.lmtp, 1000, rounds=3)],
            wide=[],
            target=TIMES_NEAR,
        )


def _one_message(scene: Stage, ours: Candidate, peers: Sequence[Candidate]) -> Iterator[Row]:
    """Send one message after the other: to an onion that is new, and again over the session that is open now."""
    first: list[float] = []
    again: list[float] = []
    others: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for domain in DOMAINS:
        with smtplib.SMTP(LOOPBACK, ours.port, "generator.example") as session:
            session.ehlo()
            for trips in (first, again):
                start = time.monotonic()
                session.sendmail(SENDER, f"user@{domain}", message())
                trips.append((time.monotonic() - start) / scene.round_trip)
        for peer in peers:
            others[peer.name].append(scene.round_trips(peer))
    what = f"{scene.round_trip * 1000:g} ms, one message"
    for name, values in others.items():
        yield Row(f"{what}, {name}", f"{median(values):.2f} round trips")
    for which, values, limit in (
        ("on an open session", again, ROUND_TRIPS_OPEN),
        ("the first to an onion", first, ROUND_TRIPS_FIRST),
    ):
        needed = median(values)
        yield Row(f"{what}, onionmx relay, {which}", f"{needed:.2f} round trips", f"at most {limit:g}", needed <= limit)


def _processor_time(scene: Stage, ours: Relay) -> Iterator[Row]:
    """Time on a processor, which says less of whatever else the machine does than messages a second."""
    for candidate in (ours.smtp, ours.lmtp):
        scene.burst(candidate, CPU_COUNT, keep=True)  # all modules loaded, sessions open
        for keep, mode in MODES.items():
            before = ours.cpu_seconds
            scene.burst(candidate, CPU_COUNT, keep=keep)
            used = (ours.cpu_seconds - before) * 1000 / CPU_COUNT
            limit = CPU_LIMIT if keep else None
            yield Row(
                f"CPU for 1000 messages, {candidate.name}, the generator's sessions {mode}",
                f"{used:.2f} s",
                f"at most {limit:g} s" if limit else "",
                used <= limit if limit else None,
            )


def _sustained(  # noqa: PLR0913
    scene: Stage,
    what: str,
    *,
    ours: Sequence[Run],
    today: Sequence[Run],
    best: Sequence[Run],
    shown: Sequence[Run],
    wide: Sequence[Run],
    target: float,
) -> Iterator[Row]:
    """Run all in turn, and compare ours with the others in the mode in which it is less ahead.

    Args:
        scene: the stage.
        what: for the table.
        ours: runs of the relay by the protocol that the peers are spoken to as well; they are judged.
        today: peers as their users have them.
        best: peers with settings that no manual has, as fast as was found possible.
        shown: further runs of the relay.
        wide: runs of the relay with more sessions of the generator than to the onion. A peer that queues takes all at
            once; of the relay, which says 250 only after the onion MX, 20 sessions cannot ask for more than 20
            messages a round trip.
        target: how many times as fast is to be reached.
    """
    rates = _bursts(scene, [*today, *best, *ours, *shown, *wide])
    for run, values in rates.items():
        yield Row(f"{what}, {run}", str(values))
    all_peers = [*today, *best]
    comparisons = [
        ("the best peer as users have it", today, ours, target),
        ("the best of all peers", all_peers, ours, None),
    ]
    if wide:
        comparisons.append((f"the best of all peers ({MANY} of the generator)", all_peers, wide, None))
    for name, peers, mine, limit in comparisons:
        ratio = min(
            min(rates[run].median(keep=keep) for run in mine) / max(rates[run].median(keep=keep) for run in peers)
            for keep in MODES
        )
        yield Row(
            f"{what}, onionmx relay / {name}",
            f"{ratio:.1f} x",
            f"at least {limit:g} x" if limit else "",
            ratio >= limit if limit else None,
        )
    if scene.round_trip:
        sessions = max(rates[run].sessions for run in [*ours, *wide])
        yield Row(
            f"{what}, sessions of the relay to the onion", f"{sessions}", f"at most {SESSIONS}", sessions <= SESSIONS
        )


def _bursts(scene: Stage, runs: Sequence[Run]) -> Mapping[Run, Rates]:
    """Every run in every mode, in turn, so that whatever else the machine does falls on all of them alike."""
    rates = {run: Rates() for run in runs}
    for turn in range(max(run.rounds for run in runs)):
        for keep in MODES:
            for run in runs:
                if turn < run.rounds:
                    burst = scene.burst(run.candidate, run.count, keep=keep, sessions=run.sessions)
                    rates[run].add(burst, keep=keep)
    return rates
