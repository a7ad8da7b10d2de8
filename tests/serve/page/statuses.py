"""Statuses to be shown: all is well, much is wrong, nothing is known."""

from datetime import date, timedelta

from onionmx.status.model import (
    CouldHaveGone,
    DayCount,
    DeliveriesStatus,
    DeliveryCount,
    FailingDestination,
    FailingStatus,
    FailureKind,
    FallbackStatus,
    MapStatus,
    OnionsStatus,
    OnionStatus,
    QueueStatus,
    Status,
    TorStatus,
)
from tests.mapfile.maps import A, B

AT = 1795860000.0  # 2026-11-28 10:00 UTC
DAYS = tuple(
    DayCount(
        day=str(date(2026, 11, 28) - timedelta(days=29 - number)),
        delivered=(7 * number * number + 11 * number + 23) % 97,
        refused=number % 4,
        deferred=number % 7,
    )
    for number in range(30)
)
WELL = Status(
    version="1.2.3",
    host="mx1.example.org",
    at=AT,
    tor=TorStatus(answers=True),
    onions=OnionsStatus(services=(OnionStatus(onion=A, published=True, reachable=True, reachable_since=AT - 9e5),)),
    map=MapStatus(
        path="/var/lib/onionmx/map.cdb",
        written=AT - 86400,
        age=86400.0,
        entries=1412,
        last_run=AT - 1500,
        waiting=(),
        more_waiting=2,
    ),
    fallback=FallbackStatus(released=(), why="there are no fallback rules"),
    failing=FailingStatus(destinations=()),
    queue=QueueStatus(mta="Exim", waiting=3, in_flight=1),
    deliveries=DeliveriesStatus(
        today=DAYS[-1],
        last_30_days=DeliveryCount(
            delivered=sum(day.delivered for day in DAYS),
            deferred=sum(day.deferred for day in DAYS),
            refused=sum(day.refused for day in DAYS),
        ),
        days=DAYS,
        could_have_gone=CouldHaveGone(recipients=4000, with_route=1000, share=0.25),
    ),
)


def failing(onion: str, domains: tuple[str, ...], kind: FailureKind, reason: str) -> FailingDestination:
    return FailingDestination(
        onion=onion,
        port=25,
        domains=domains,
        kind=kind,
        reason=reason,
        failures=14,
        since=AT - 200_000,
        last=AT - 300,
        next_try=AT + 300,
    )


FAILING = (
    failing(A, ("secret.example", "other.example"), FailureKind.NOT_PUBLISHED, "tor: no descriptor (F0)"),
    failing(B, ("third.example",), FailureKind.UNREACHABLE, "tor: the introduction failed (F2)"),
)
