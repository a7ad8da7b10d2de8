"""What the relay counts, for Prometheus; `docs/monitoring.md` lists it."""

from prometheus_client import Counter, Gauge, Histogram

ROUND_TRIP_BUCKETS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # seconds; Tor is slow

deliveries = Counter(
    "onionmx_relay_deliveries", "Recipients answered, by the first digit of the reply code.", ["result"]
)
round_trips_saved = Counter(
    "onionmx_relay_round_trips_saved", "Round trips that one command at a time on a session of its own would have cost."
)
sessions = Gauge("onionmx_relay_sessions", "Sessions with onion MXes.", ["state"])
socks_failures = Counter("onionmx_relay_socks_failures", "Connections that tor did not open, by cause.", ["cause"])
stage_seconds = Histogram(
    "onionmx_relay_stage_seconds",
    "Seconds for the stages of a delivery: connect (SOCKS), open (greeting and EHLO), transaction.",
    ["stage"],
    buckets=ROUND_TRIP_BUCKETS,
)
