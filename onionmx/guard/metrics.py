"""What the guard counts, for Prometheus.

| metric | meaning |
|---|---|
| `onionmx_guard_requests_total{answer}` | `passed`, `refused`, `no_circuit`, `malformed`, `fault` (of ours) |
| `onionmx_guard_refused_total{limit}` | by limit: `connections`, `refused_recipients`, `bytes`, `errors` |
| `onionmx_guard_circuits` | circuits that are remembered |
| `onionmx_guard_circuits_closed_total{result}` | `closed`, `gone`, `foreign` (left alone), `failed` |
| `onionmx_guard_connections` | connections of MTAs now |
"""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from onionmx.guard.limits import Circuits, Limit
from onionmx.serve.metrics import Tally
from onionmx.tor.circuits import Closing


class GuardMetrics(Collector):
    """Makes samples of what was counted.

    Args:
        circuits: that are remembered.

    Attributes:
        tally: counts connections of MTAs.
        passed: requests about circuits within their limits.
        others: requests that are not about a circuit, or not counted.
        malformed: requests that are none.
        faults: requests at which the guard itself failed.
        refused: requests refused, by limit.
        closed: circuits that were to be closed, by what came of it.
        failed: circuits that could not be closed as tor did not answer.
    """

    def __init__(self, circuits: Circuits) -> None:
        self.tally = Tally("policy")
        self._circuits = circuits
        self.passed = self.others = self.malformed = self.faults = self.failed = 0
        self.refused = dict.fromkeys(Limit, 0)
        self.closed = dict.fromkeys(Closing, 0)

    def collect(self) -> Iterator[Metric]:
        """All samples, as they are now."""
        requests = CounterMetricFamily("onionmx_guard_requests", "Requests of MTAs.", labels=["answer"])
        answers = {
            "passed": self.passed,
            "refused": sum(self.refused.values()),
            "no_circuit": self.others,
            "malformed": self.malformed,
            "fault": self.faults,
        }
        for answer, number in answers.items():
            requests.add_metric([answer], number)
        refused = CounterMetricFamily("onionmx_guard_refused", "Requests refused.", labels=["limit"])
        for limit, number in self.refused.items():
            refused.add_metric([limit], number)
        closed = CounterMetricFamily("onionmx_guard_circuits_closed", "Circuits to be closed.", labels=["result"])
        for result, number in self.closed.items():
            closed.add_metric([result], number)
        closed.add_metric(["failed"], self.failed)
        yield from (requests, refused, closed)
        yield GaugeMetricFamily("onionmx_guard_circuits", "Circuits that are remembered.", value=len(self._circuits))
        yield GaugeMetricFamily("onionmx_guard_connections", "Connections of MTAs now.", value=self.tally.connections)
