"""What the relay counts, for Prometheus; `docs/monitoring.md` lists it."""

from functools import cache

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

ROUND_TRIP_BUCKETS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # seconds; Tor is slow

deliveries = Counter(
    "onionmx_relay_deliveries", "Recipients answered, by the first digit of the reply code.", ["result"]
)
failing = Gauge(
    "onionmx_relay_failing_destinations", "Onion MXes that could not be brought to take mail, by why.", ["kind"]
)
round_trips_saved = Counter(
    "onionmx_relay_round_trips_saved", "Round trips that one command at a time on a session of its own would have cost."
)
released = Gauge("onionmx_relay_released", "Domains whose mail may go over the open internet now.")
sessions = Gauge("onionmx_relay_sessions", "Sessions with onion MXes.", ["state"])
socks_failures = Counter("onionmx_relay_socks_failures", "Connections that tor did not open, by cause.", ["cause"])
tor_answers = Gauge("onionmx_relay_tor_answers", "Whether tor itself answers, 1 or 0.")
stage_seconds = Histogram(
    "onionmx_relay_stage_seconds",
    "Seconds for the stages of a delivery: connect (SOCKS), open (greeting and EHLO), transaction.",
    ["stage"],
    buckets=ROUND_TRIP_BUCKETS,
)


def open_sessions() -> int:
    """Sessions with onion MXes that are open now."""
    return round(REGISTRY.get_sample_value("onionmx_relay_sessions", {"state": "open"}) or 0)


@cache
def delivered(digit: int) -> Counter:
    """The counter of recipients whose reply begins with a digit."""
    return deliveries.labels(f"{digit}xx")
