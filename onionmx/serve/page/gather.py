"""What the lookup daemon can find out of this host's status without rights of its own; looked at every few seconds.

It asks neither tor's control port nor the MTA: `onionmx status` does, as root. What it cannot know is `None`.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from onionmx import __version__
from onionmx.clock import Clock, Timestamp
from onionmx.config import Configuration
from onionmx.errors import OnionmxError, StateError
from onionmx.isolation import isolated
from onionmx.mapfile.cdb import MapReader
from onionmx.serve.http.health import HealthPart
from onionmx.serve.http.shared_look import SharedLook
from onionmx.status.model import CouldHaveGone, MapStatus, QueueStatus, Status, TorStatus
from onionmx.status.relay_seen import look_at_relay
from onionmx.status.released import look_at_released
from onionmx.status.watched import onions_watched
from onionmx.sync.metrics_file import read_metrics

LIMIT = 2.0
"""Seconds for the relay's answer."""
_ROOT_KNOWS = "onionmx serve may not look; onionmx status does"


class StatusSource:
    """Looks at this host.

    Args:
        health: what `/healthz` tells.
        clock: gives seconds since 1970.
    """

    def __init__(
        self,
        configuration: Configuration,
        health: Callable[[], Awaitable[Mapping[str, HealthPart]]],
        clock: Clock = time.time,
    ) -> None:
        self._configuration = configuration
        self._health = health
        self._clock = clock
        self._look = SharedLook(self._look_at_all)

    def use(self, configuration: Configuration) -> None:
        """Look at what another configuration says from now on."""
        self._configuration = configuration
        self._look.forget()

    async def status(self) -> Status:
        """All of it."""
        return await self._look.seen()

    async def close(self) -> None:
        """Stop looking."""
        await self._look.close()

    async def _look_at_all(self) -> Status:
        configuration, now = self._configuration, self._clock()
        # In threads: to read what is long holds no lookup up.
        health, relay, onions, fallback, (known, could, could_why) = await asyncio.gather(
            self._health(),
            asyncio.to_thread(lambda: asyncio.run(look_at_relay(configuration, LIMIT))),
            asyncio.to_thread(onions_watched, configuration, now),
            asyncio.to_thread(look_at_released, configuration.fallback),
            asyncio.to_thread(_of_files, configuration, now),
        )
        tor = health["tor"]
        return Status(
            version=__version__,
            host=socket.gethostname(),
            at=now,
            tor=TorStatus(answers=tor.ok, why="" if tor.ok else tor.seen),
            onions=onions,
            map=known,
            failing=relay.failing_status,
            fallback=fallback,
            queue=QueueStatus(in_flight=relay.in_flight, why=_ROOT_KNOWS),
            deliveries=relay.deliveries(now, could, could_why),
        )


def _of_files(configuration: Configuration, now: Timestamp) -> tuple[MapStatus, CouldHaveGone | None, str]:
    """The map, and what the last run of sync counted, as far as its metrics are there to be read.

    Returns:
        The map; what could have gone over onions, and why that is not known.
    """
    path = Path(configuration.map.path)
    written = entries = None
    troubles = []
    try:
        with isolated("map"), MapReader(path) as reader:
            entries = len(reader)
        written = path.stat().st_mtime
    except (OnionmxError, OSError) as error:
        troubles.append(str(error))
    metrics: Mapping[str, float] = {}
    why = "sync.metrics_file is not set: onionmx status tells what sync knows"
    if configuration.sync.metrics_file:
        try:
            metrics, why = read_metrics(Path(configuration.sync.metrics_file)), "sync reads no logs (sync.logs)"
        except StateError as error:
            why = str(error)
    waiting = metrics.get("onionmx_sync_waiting_changes")
    if waiting is None:
        troubles.append(why)
    known = MapStatus(
        path=str(path),
        written=written,
        age=None if written is None else max(0.0, now - written),
        entries=entries,
        last_run=metrics.get("onionmx_sync_last_run_timestamp_seconds"),
        waiting=None if waiting is None else (),
        more_waiting=int(waiting or 0),
        why="; ".join(troubles),
    )
    could = _could_have_gone(metrics)
    return known, could, "" if could else why


def _could_have_gone(metrics: Mapping[str, float]) -> CouldHaveGone | None:
    recipients = metrics.get("onionmx_sync_outgoing_recipients")
    if not recipients:
        return None
    with_route = metrics.get("onionmx_sync_outgoing_recipients_with_route", 0.0)
    return CouldHaveGone(recipients=int(recipients), with_route=int(with_route), share=with_route / recipients)
