"""What `onionmx status` tells; the names of the fields are those of its JSON. No I/O.

What could not be found out is `null`, never `false` or 0, and `why` beside it says why. Times are seconds since 1970.
Texts of others (`reason`, `why`, `what`) may hold anything: they are cleaned where they are shown.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from onionmx.clock import Timestamp
from onionmx.domain import Domain

_Count = Annotated[int, Meta(ge=0)]
_Time = Annotated[Timestamp, Meta(ge=0, le=253402300799)]  # to the year 9999, the last that datetime knows
_Port = Annotated[int, Meta(ge=1, le=65535)]
_Day = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class FailureKind(StrEnum):
    """Why a destination fails, as one of a few words."""

    NOT_PUBLISHED = "not_published"
    """The onion service is not to be found: no usable descriptor (F0, F1)."""
    UNREACHABLE = "unreachable"
    """It is published, and tor does not get there (F2, F3, F7, timeouts)."""
    REFUSED = "refused"
    """tor gets there, and nothing listens on that port."""
    AUTHORIZATION = "authorization"
    """The service wants a client authorization that tor does not have, or another one (F4, F5)."""
    BAD_ADDRESS = "bad_address"
    """The address is not that of an onion service (F6)."""
    NO_SESSION = "no_session"
    """An MX is there, and no session with it comes about: it refuses, or its TLS or SMTP fails."""
    BROKE_OFF = "broke_off"
    """Sessions with it end before it has decided on a message."""
    NOT_PROVEN = "not_proven"
    """It does not show what the domain demands of its MX (MTA-STS, DANE)."""
    OTHER = "other"


class FailingDestination(Struct, frozen=True, kw_only=True):
    """An onion MX that could not be brought to take mail, and has not taken any since.

    Attributes:
        onion: its host name.
        port: its port.
        domains: whose mail was to go there, the last ones that were seen, the newest first.
        kind: why, as one word.
        reason: why, in words: what was seen the last time.
        failures: that counted, in a row; a hundred messages that fail together are one.
        since: when the first of them was.
        last: when the last one was.
        next_try: from when on the next message is tried there; `None` where the next one is tried at once.
    """

    onion: str
    port: _Port
    domains: tuple[Domain, ...]
    kind: FailureKind
    reason: str
    failures: _Count
    since: _Time
    last: _Time
    next_try: _Time | None = None


class DeliveryCount(Struct, frozen=True, kw_only=True):
    """Recipients that an onion MX, or the relay in its place, has answered; each message counts for each of them.

    Attributes:
        delivered: taken by an onion MX (2xx).
        deferred: answered 4xx: the MTA tries again, and each try counts.
        refused: answered 5xx.
    """

    delivered: _Count = 0
    deferred: _Count = 0
    refused: _Count = 0


class DayCount(DeliveryCount, frozen=True, kw_only=True):
    """The same of one day.

    Attributes:
        day: as YYYY-MM-DD, in the time zone of this host.
    """

    day: _Day


class RelayStatus(Struct, frozen=True, kw_only=True):
    """What the relay's control socket answers to `GET /status`.

    Attributes:
        version: of onionmx.
        at: when it was asked.
        started: when the process, or this worker of it, began to serve.
        in_flight: messages that it is handing over.
        sessions: that are open with onion MXes.
        failing: of all workers, the longest failing first.
        days: of all workers, the oldest first, at most 31; days without a delivery are left out.
        why: why what was counted before the last start, or by other workers, is not in it; empty where it is.
    """

    version: str
    at: _Time
    started: _Time
    in_flight: _Count
    sessions: _Count
    failing: tuple[FailingDestination, ...] = ()
    days: tuple[DayCount, ...] = ()
    why: str = ""


class TorStatus(Struct, frozen=True, kw_only=True):
    """Tor on this host.

    Attributes:
        answers: whether tor answers at all; `None` where that could not be told.
        version: of tor.
        bootstrapped: how far it has reached the network, in percent; 100 is all the way.
        has_circuits: whether it says that circuits can be built.
        circuits: that are built now.
        why: what is wrong, or why it could not be told; empty where all is well.
    """

    answers: bool | None
    version: str | None = None
    bootstrapped: int | None = None
    has_circuits: bool | None = None
    circuits: int | None = None
    why: str = ""


class OnionStatus(Struct, frozen=True, kw_only=True):
    """An onion service of this host that takes mail.

    Attributes:
        onion: its address; `None` where that is not known.
        published: whether the directories of tor have its descriptor.
        published_at: when it was published last.
        published_why: what was seen, or why it could not be told.
        reachable: whether it was reached from outside, over a circuit of its own.
        reachable_since: since when that is so.
        reachable_why: what was seen, or why it is not known.
    """

    onion: str | None
    published: bool | None = None
    published_at: Timestamp | None = None
    published_why: str = ""
    reachable: bool | None = None
    reachable_since: Timestamp | None = None
    reachable_why: str = ""


class OnionsStatus(Struct, frozen=True, kw_only=True):
    """The onion services of this host that take mail.

    Attributes:
        services: all of them; `None` where that could not be told.
        why: why not, or why there are none; empty where there are some.
    """

    services: tuple[OnionStatus, ...] | None
    why: str = ""


class WaitingChange(Struct, frozen=True, kw_only=True):
    """A change of the map that waits for time or for the operator.

    Attributes:
        domain: whose entry is to change.
        what: the change, and why it waits.
        since: since when; `None` where that was not noted.
        command: makes the change at once.
    """

    domain: Domain
    what: str
    command: str
    since: Timestamp | None = None


class MapStatus(Struct, frozen=True, kw_only=True):
    """The map, and what sync knows.

    Attributes:
        path: of the map.
        written: when the map was written last; `None` where there is none, or that could not be told.
        age: seconds since then.
        entries: in it; `None` where there is no map, or it cannot be read.
        last_run: of sync, on any host that shares its store; `None` where there was none, or that could not be told.
        waiting: changes that wait, in alphabetical order, the first 1000 of them; `None` where that could not be told.
        more_waiting: how many more there are.
        why: what could not be read, and why; empty where all could.
    """

    path: str
    written: Timestamp | None = None
    age: float | None = None
    entries: int | None = None
    last_run: Timestamp | None = None
    waiting: tuple[WaitingChange, ...] | None = None
    more_waiting: int = 0
    why: str = ""


class FailingStatus(Struct, frozen=True, kw_only=True):
    """Destinations that fail.

    Attributes:
        destinations: the longest failing first; `None` where that could not be told.
        why: why not, or from when they are; empty where the relay tells them.
    """

    destinations: tuple[FailingDestination, ...] | None
    why: str = ""


class FallbackStatus(Struct, frozen=True, kw_only=True):
    """Domains whose mail may go over the open internet now, because the fallback rules say so.

    Attributes:
        released: in alphabetical order; `None` where that could not be told.
        confirmed: when the relay last saw the onion MXes of all of them failing; `None` where none is released.
        why: why nothing is released, or why it could not be told; empty where some are.
    """

    released: tuple[Domain, ...] | None
    confirmed: Timestamp | None = None
    why: str = ""


class QueueStatus(Struct, frozen=True, kw_only=True):
    """Mail that waits in the queue of the MTA, to whatever destination.

    Attributes:
        mta: its name; `None` where none was found.
        waiting: messages; `None` where that could not be told.
        in_flight: messages that the relay is handing over; `None` where it could not be asked.
        why: why the count is not known; empty where it is.
    """

    mta: str | None = None
    waiting: int | None = None
    in_flight: int | None = None
    why: str = ""


class CouldHaveGone(Struct, frozen=True, kw_only=True):
    """How much of the mail in the logs of the MTA has a route over onion services.

    Attributes:
        recipients: remote ones of all mail that sync has counted (`sync.logs`, `sync.logs_keep`).
        with_route: those of them whose domain is in the map now.
        share: the second of the first, from 0 to 1.
    """

    recipients: int
    with_route: int
    share: float


class DeliveriesStatus(Struct, frozen=True, kw_only=True):
    """What went over onion services through the relay, and what could have gone.

    Attributes:
        today: since midnight, in the time zone of this host; `None` where that could not be told.
        last_30_days: today included.
        days: the last 30 days, the oldest first, one without a delivery included; empty where they are not known.
        why: why they are not known, or from when they are; empty where the relay tells them.
        sent_today: remote recipients of all mail, however it went, in the mail logs as sync has read them today; `None`
            where sync counts none, or that could not be told.
        sent_last_30_days: the same of the last 30 days.
        could_have_gone: by the logs; `None` where sync counts none, or that could not be told.
        could_have_gone_why: why not; empty where it is there.
    """

    today: DeliveryCount | None = None
    last_30_days: DeliveryCount | None = None
    days: tuple[DayCount, ...] = ()
    why: str = ""
    sent_today: int | None = None
    sent_last_30_days: int | None = None
    could_have_gone: CouldHaveGone | None = None
    could_have_gone_why: str = ""


class Status(Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        version: of onionmx.
        host: name of this machine.
        at: when it was looked at.
        tor: tor itself.
        onions: the onion services of this host.
        map: the map and sync.
        failing: destinations that fail.
        fallback: domains that are released to the open internet.
        queue: mail that waits.
        deliveries: what went over onion services.
    """

    version: str
    host: str
    at: Timestamp
    tor: TorStatus
    onions: OnionsStatus
    map: MapStatus
    failing: FailingStatus
    fallback: FallbackStatus
    queue: QueueStatus
    deliveries: DeliveriesStatus
