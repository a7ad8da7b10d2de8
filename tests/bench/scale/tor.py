"""Tor and ten thousand onion MXes, as much of them as the pool sees: how long things take, and what fails."""

import asyncio
import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, cast

from onionmx.onion import Endpoint
from onionmx.relay.sessions.member import Destination, Opened
from onionmx.smtp.client.outcome import Ending, Outcome, Sent
from onionmx.smtp.envelope import Envelope
from onionmx.smtp.extensions import Extensions
from onionmx.smtp.reply import OurReply
from onionmx.tor.socks import Cause, SocksError
from tests.onions import make_onion

if TYPE_CHECKING:
    from onionmx.smtp.client.session import ClientSession

ROUND_TRIP = (0.5, 0.4)
"""Seconds over a circuit: median, and sigma of the logarithm."""
CIRCUIT = (3.0, 0.7)
"""Seconds until a circuit to an onion service stands: descriptor, introduction, rendezvous."""
AT_ONCE = 32
"""Circuits that tor builds at the same time (tor(1), MaxClientCircuitsPending)."""
DIRTY = 600.0
"""Seconds that tor keeps a circuit after the last stream was opened on it (tor(1), MaxCircuitDirtiness)."""
OPENING = 2
"""Round trips until a session is open: CONNECT with the greeting, EHLO."""
OFFLINE, SILENT = 0.02, 0.02
"""Shares of the onions without a descriptor, and of those whose tor does not come to the rendezvous."""
NO_DESCRIPTOR = 10.0
"""Seconds after which tor says F0."""
NO_RENDEZVOUS = 120.0
"""Seconds after which it gives up (tor(1), SocksTimeout)."""

_TAKEN = OurReply.DELIVERED.value
_EXTENSIONS = Extensions(pipelining=True, chunking=True, size=0, eight_bit_mime=True)


@dataclass(slots=True)
class Onion:
    """One onion MX.

    Attributes:
        endpoint: its name and port.
        round_trip: seconds.
        failure: why it cannot be reached; `None` for one that can.
    """

    endpoint: Endpoint
    round_trip: float
    failure: Cause | None


@dataclass(slots=True)
class _Circuit:
    streams: int = 0
    last: float = 0.0


class Tor:
    """A tor that can be stopped and started, and all onion MXes behind it.

    Args:
        count: onions.
        random: makes each run equal.

    Attributes:
        onions: all of them.
        sessions: open now.
        messages: taken so far, those that were the first on their session and those that were not.
        stops: how often it was stopped.
    """

    def __init__(self, count: int, random: Random) -> None:
        self._random = random
        self._free = asyncio.Semaphore(AT_ONCE)
        self._circuits: dict[Endpoint, _Circuit] = {}
        self._runs = True
        self.sessions = 0
        self.messages = {True: 0, False: 0}
        self.stops = 0
        self.onions = [self._onion(number) for number in range(count)]
        self._by_endpoint = {onion.endpoint: onion for onion in self.onions}

    def stop(self) -> None:
        """All circuits and sessions end."""
        self._runs = False
        self.stops += 1
        self._circuits.clear()

    def start(self) -> None:
        """Circuits can be built again."""
        self._runs = True

    @property
    def circuits(self) -> int:
        """To onion MXes, standing now."""
        now = asyncio.get_running_loop().time()
        ended = [name for name, one in self._circuits.items() if not one.streams and now > one.last + DIRTY]
        for name in ended:
            del self._circuits[name]
        return len(self._circuits)

    async def open(self, destination: Destination) -> Opened:
        """A session, as the relay opens it."""
        onion = self._by_endpoint[destination.endpoint]
        began = self.stops
        if not self._runs:
            raise SocksError(onion.endpoint, Cause.PROXY_UNREACHABLE)
        if not self._stands(onion):
            await self._build(onion)
        await asyncio.sleep(OPENING * onion.round_trip)
        if self.stops != began:
            raise SocksError(onion.endpoint, Cause.CLOSED)
        circuit = self._circuits.setdefault(onion.endpoint, _Circuit())
        circuit.streams += 1
        circuit.last = asyncio.get_running_loop().time()
        return Opened(cast("ClientSession", _Session(self, onion, circuit)), {})

    def _onion(self, number: int) -> Onion:
        chance = self._random.random()
        failure = None
        if chance < OFFLINE + SILENT:
            failure = Cause.DESCRIPTOR_NOT_FOUND if chance < OFFLINE else Cause.HOST_UNREACHABLE
        return Onion((make_onion(number), 25), self._seconds(ROUND_TRIP), failure)

    def _seconds(self, distribution: tuple[float, float]) -> float:
        median, sigma = distribution
        return self._random.lognormvariate(math.log(median), sigma)

    def _stands(self, onion: Onion) -> bool:
        circuit = self._circuits.get(onion.endpoint)
        now = asyncio.get_running_loop().time()
        return circuit is not None and (circuit.streams > 0 or now <= circuit.last + DIRTY)

    async def _build(self, onion: Onion) -> None:
        if onion.failure is None:
            async with self._free:
                await asyncio.sleep(self._seconds(CIRCUIT))
            return
        await asyncio.sleep(NO_DESCRIPTOR if onion.failure is Cause.DESCRIPTOR_NOT_FOUND else NO_RENDEZVOUS)
        raise SocksError(onion.endpoint, onion.failure)


class _Session:
    """As much of a `ClientSession` as pool and courier use."""

    extensions = _EXTENSIONS
    can_start_tls = False
    broke_off_in_a_reply = False

    def __init__(self, tor: Tor, onion: Onion, circuit: _Circuit) -> None:
        self._tor = tor
        self._onion = onion
        self._circuit = circuit
        self._stops = tor.stops
        self._uses = 0
        tor.sessions += 1

    @property
    def is_usable(self) -> bool:
        return self._stops == self._tor.stops

    async def deliver(self, envelope: Envelope, content: object, **options: Any) -> Outcome:  # noqa: ARG002, ANN401
        is_first = not self._uses
        self._uses += 1
        await asyncio.sleep(self._onion.round_trip)
        count = len(envelope.recipients)
        if not self.is_usable:
            return Outcome(Ending.LOST, Sent.EVERYTHING, recipients=(None,) * count, cause="connection lost")
        self._tor.messages[is_first] += 1
        return Outcome(Ending.ANSWERED, Sent.EVERYTHING, _TAKEN, (_TAKEN,) * count, _TAKEN, round_trips=1)

    def abort(self) -> None:
        pass

    async def close(self) -> None:
        self._circuit.streams -= 1
        self._tor.sessions -= 1
