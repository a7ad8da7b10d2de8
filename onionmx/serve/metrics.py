"""What the lookup daemon counts, for Prometheus.

| metric | meaning |
|---|---|
| `onionmx_lookup_requests_total{protocol, answer}` | answers: `found`, `none`, `temporary`, `timeout`, `permanent` |
| `onionmx_lookup_malformed_total{protocol}` | pieces of input that were no request |
| `onionmx_lookup_seconds{protocol}` | histogram: from a request to its answer |
| `onionmx_lookup_connections{protocol}` | connections now |
| `onionmx_lookup_connections_opened_total{protocol}` | connections taken since the start |
| `onionmx_lookup_connections_ended_total{protocol}` | connections ended to make room for others |
| `onionmx_lookup_reloads_total{result}` | reloads of the configuration: `taken`, `refused` |
| `onionmx_lookup_cache_entries` | domains in the cache |
| `onionmx_lookup_cache_questions` | questions to DNS under way |
| `onionmx_lookup_cache_events_total{event}` | `hit`, `miss`, `joined`, `stale`, `refresh`, `failure`, `eviction` |
| `onionmx_lookup_map_written_seconds` | when the map was written, Unix time; 0 where there is none |

The protocols are `socketmap`, `tcp_table`, `readsocket`, and `http` with those metrics that fit it.

The fast path adds to plain numbers; only a scrape makes samples of them. A registry of its own keeps several daemons
of one process, as tests run them, apart.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from onionmx.routing.live import CacheStats
from onionmx.routing.router import Router
from onionmx.serve.protocols.codec import LookupResult

BUCKETS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds: the cache answers within the first, DNS over Tor takes up to the last ones."""

_CACHE_EVENTS = {
    "hit": "hits",
    "miss": "misses",
    "joined": "coalesced",
    "stale": "stale",
    "refresh": "refreshes",
    "failure": "failures",
    "eviction": "evictions",
}


class Tally:
    """What is counted for one protocol."""

    __slots__ = (
        "_buckets",
        "_seconds",
        "connections",
        "ended",
        "found",
        "malformed",
        "none",
        "opened",
        "permanent",
        "protocol",
        "temporary",
        "timeout",
    )

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.found = self.none = self.temporary = self.timeout = self.permanent = 0
        self.malformed = 0
        self.connections = self.opened = self.ended = 0
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def answered(self, seconds: float, number: int = 1) -> None:
        """Note how long answers took.

        Args:
            seconds: for all of them together where they were made at once.
            number: of answers.
        """
        self._buckets[bisect_left(BUCKETS, seconds) if seconds > BUCKETS[0] else 0] += number
        self._seconds += seconds

    def count(self, outcome: LookupResult) -> None:
        """Count an answer."""
        setattr(self, outcome.value, getattr(self, outcome.value) + 1)

    def outcomes(self) -> dict[str, int]:
        """Answers by outcome."""
        return {outcome.value: getattr(self, outcome.value) for outcome in LookupResult}

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulated numbers by upper bound, and the sum of seconds."""
        total = 0
        cumulated: list[tuple[str, float]] = []
        for bound, number in zip((*map(str, BUCKETS), "+Inf"), self._buckets, strict=True):
            total += number
            cumulated.append((bound, float(total)))
        return cumulated, self._seconds


class LookupMetrics(Collector):
    """Makes samples of all tallies, of the cache and of the map.

    Args:
        router: whose cache is shown; to be replaced when the configuration is.
    """

    def __init__(self, router: Router, map_path: Path) -> None:
        self.router = router
        self.map_path = map_path
        self.tallies: dict[str, Tally] = {}
        self.reloads = {"taken": 0, "refused": 0}
        self._former = CacheStats()

    def tally(self, protocol: str) -> Tally:
        """The tally of a protocol."""
        return self.tallies.setdefault(protocol, Tally(protocol))

    def follow(self, router: Router, map_path: Path) -> None:
        """Show another router from now on; what the former one has counted stays in the sums."""
        self._former = self._cache_sums()
        self.router, self.map_path = router, map_path

    def collect(self) -> Iterator[Metric]:
        """All samples, as they are now."""
        yield from self._of_protocols(self.tallies.values())
        reloads = CounterMetricFamily("onionmx_lookup_reloads", "Reloads of the configuration.", labels=["result"])
        for result, number in self.reloads.items():
            reloads.add_metric([result], number)
        yield reloads
        yield from self._of_cache()
        yield GaugeMetricFamily(
            "onionmx_lookup_map_written_seconds", "When the map was written, Unix time.", value=_written(self.map_path)
        )

    def _of_protocols(self, tallies: Iterable[Tally]) -> Iterator[Metric]:
        requests = CounterMetricFamily("onionmx_lookup_requests", "Answers to lookups.", labels=["protocol", "answer"])
        malformed = CounterMetricFamily("onionmx_lookup_malformed", "Input that was no request.", labels=["protocol"])
        seconds = HistogramMetricFamily(
            "onionmx_lookup_seconds", "Seconds from a request to its answer.", labels=["protocol"]
        )
        now = GaugeMetricFamily("onionmx_lookup_connections", "Connections now.", labels=["protocol"])
        opened = CounterMetricFamily("onionmx_lookup_connections_opened", "Connections taken.", labels=["protocol"])
        ended = CounterMetricFamily(
            "onionmx_lookup_connections_ended", "Connections ended to make room for others.", labels=["protocol"]
        )
        for tally in tallies:
            for outcome, number in tally.outcomes().items():
                requests.add_metric([tally.protocol, outcome], number)
            malformed.add_metric([tally.protocol], tally.malformed)
            buckets, total = tally.buckets()
            seconds.add_metric([tally.protocol], buckets, total)
            now.add_metric([tally.protocol], tally.connections)
            opened.add_metric([tally.protocol], tally.opened)
            ended.add_metric([tally.protocol], tally.ended)
        yield from (requests, malformed, seconds, now, opened, ended)

    def _of_cache(self) -> Iterator[Metric]:
        sums = self._cache_sums()
        yield GaugeMetricFamily("onionmx_lookup_cache_entries", "Domains in the cache.", value=sums.size)
        yield GaugeMetricFamily("onionmx_lookup_cache_questions", "Questions to DNS under way.", value=sums.asking)
        events = CounterMetricFamily("onionmx_lookup_cache_events", "What happened in the cache.", labels=["event"])
        for event, attribute in _CACHE_EVENTS.items():
            events.add_metric([event], getattr(sums, attribute))
        yield events

    def _cache_sums(self) -> CacheStats:
        stats = self.router.stats()
        for attribute in _CACHE_EVENTS.values():
            setattr(stats, attribute, getattr(stats, attribute) + getattr(self._former, attribute))
        return stats


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
