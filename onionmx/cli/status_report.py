"""What `onionmx status` prints: one screen of 80 columns, in plain words."""

import textwrap
from collections.abc import Iterator
from datetime import datetime

from rich.text import Text

from onionmx.clock import Timestamp
from onionmx.defaults import DAY, HOUR, MINUTE
from onionmx.status.model import (
    DeliveriesStatus,
    DeliveryCount,
    FailingDestination,
    FailingStatus,
    FallbackStatus,
    MapStatus,
    OnionsStatus,
    QueueStatus,
    Status,
    TorStatus,
)
from onionmx.status.released import NO_RULES, NONE
from onionmx.text import escaped

WIDTH = 80
MOST = 5
"""Destinations and changes that are shown; all of them are in the JSON."""
_LABEL = 13
_SHORT = 16  # characters of an onion, as in the mail log
_DONE = 100  # percent
_GOOD, _BAD, _UNKNOWN, _PLAIN = "green", "red", "yellow", ""

_COMMAND = "bold"
"""The style of a command, which is not wrapped, so that it can be copied."""

Line = tuple[str, str]
"""A text and its style."""


def lines_of(status: Status) -> Iterator[Text]:
    """The lines of the screen."""
    yield Text(escaped(f"onionmx {status.version} on {status.host}, {_clock(status.at)}"), style="bold")
    yield Text()
    parts = {
        "tor": _tor(status.tor),
        "own onion": _onions(status.onions, status.tor),
        "map": _map(status.map, status.at),
        "failing": _failing(status.failing, status.at),
        "fallback": _fallback(status.fallback),
        "mail waiting": _queue(status.queue),
        "deliveries": _deliveries(status.deliveries),
    }
    for label, lines in parts.items():
        for text, style in lines:
            yield from _wrapped(label, text, style)
            label = ""  # noqa: PLW2901 -- of the first line


def _wrapped(label: str, text: str, style: str) -> Iterator[Text]:
    if style == _COMMAND:
        yield Text(" " * (_LABEL + 2) + escaped(text), style=_COMMAND)
        return
    wrapped = textwrap.wrap(escaped(text), WIDTH - _LABEL, break_on_hyphens=False) or [""]
    for number, line in enumerate(wrapped):
        head = Text(f"{'' if number else label:<{_LABEL}}", style="bold")
        yield head.append(line, style=style or "default")


def _tor(tor: TorStatus) -> Iterator[Line]:
    if tor.answers is None:
        yield f"not known: {tor.why}", _UNKNOWN
        return
    if not tor.answers:
        yield f"does not answer: {tor.why}", _BAD
        return
    if tor.version is None:
        yield f"runs; {tor.why}", _UNKNOWN
        return
    is_well = tor.bootstrapped == _DONE and tor.has_circuits
    reached = "how far it has reached the network is not known"
    if tor.bootstrapped is not None:
        reached = f"{tor.bootstrapped} % bootstrapped"
    yield f"{tor.version}, {reached}, {_number(tor.circuits or 0, 'circuit')}", _GOOD if is_well else _BAD
    if tor.why:
        yield tor.why, _BAD


def _onions(onions: OnionsStatus, tor: TorStatus) -> Iterator[Line]:
    if onions.services is None and tor.why.startswith(onions.why):
        yield "not known: it is tor's control port that tells it", _UNKNOWN
        return
    if onions.services is None:
        yield f"not known: {onions.why}", _UNKNOWN
        return
    if not onions.services:
        yield f"none: {onions.why}", _PLAIN
    for service in onions.services:
        yield service.onion or "one whose address is not known", _PLAIN
        published = {True: "published", False: "not published", None: "whether it is published is not known"}
        when = f" {_clock(service.published_at)}" if service.published_at else ""
        words = f"{published[service.published]}{when}: {service.published_why}"
        yield words.removesuffix(": "), {True: _GOOD, False: _BAD, None: _UNKNOWN}[service.published]
        since = f" since {_clock(service.reachable_since)}" if service.reachable_since else ""
        reachable = {True: "reached from outside", False: "not reached from outside", None: "reachable: not known"}
        words = f"{reachable[service.reachable]}{since}: {service.reachable_why}"
        yield words.removesuffix(": "), {True: _GOOD, False: _BAD, None: _PLAIN}[service.reachable]


def _map(told: MapStatus, now: Timestamp) -> Iterator[Line]:
    entries = "not there, or not readable" if told.entries is None else _number(told.entries, "entry", "entries")
    written = "" if told.age is None else f", written {_span(told.age)} ago"
    run = "sync has not run" if told.waiting is not None else "when sync ran is not known"
    if told.last_run is not None:
        run = f"sync ran {_span(now - told.last_run)} ago"
    yield f"{told.path}: {entries}{written}; {run}", _UNKNOWN if told.entries is None else _PLAIN
    if told.why:
        yield told.why, _UNKNOWN
    if told.waiting is None:
        yield "which changes wait is not known", _UNKNOWN
        return
    for change in told.waiting[:MOST]:
        since = f", since {_clock(change.since)}" if change.since else ""
        yield f"{change.domain} waits{since}: {change.what}", _UNKNOWN
        yield change.command, _COMMAND
    left = len(told.waiting) - MOST + told.more_waiting
    if left > 0:
        yield f"and {_number(left, 'change')} more: onionmx sync --pending", _UNKNOWN


def _failing(failing: FailingStatus, now: Timestamp) -> Iterator[Line]:
    if failing.destinations is None:
        yield f"not known: {failing.why}", _UNKNOWN
        return
    if not failing.destinations:
        yield "no destination", _GOOD if not failing.why else _PLAIN
    for each in failing.destinations[:MOST]:
        yield f"{each.onion[:_SHORT]}...:{each.port} for {', '.join(each.domains)}", _BAD
        yield f"{each.reason}; {_times(each, now)}", _PLAIN
    left = len(failing.destinations) - MOST
    if left > 0:
        yield f"and {_number(left, 'destination')} more: onionmx status --json", _BAD
    if failing.why:
        yield failing.why, _UNKNOWN


def _fallback(fallback: FallbackStatus) -> Iterator[Line]:
    """Nothing where there are no rules."""
    if fallback.released is None:
        yield f"not known: {fallback.why}", _UNKNOWN
    elif fallback.released:
        yield "released, their mail goes over the open internet:", _BAD
        more = len(fallback.released) - MOST
        domains = ", ".join(fallback.released[:MOST])
        yield domains + (f" and {more} more: onionmx status --json" if more > 0 else ""), _BAD
    elif fallback.why != NO_RULES:
        yield f"nothing is released: {fallback.why}" if fallback.why != NONE else "nothing is released", _PLAIN


def _times(each: FailingDestination, now: Timestamp) -> str:
    following = "the next message is tried at once"
    if each.next_try is not None and each.next_try > now:
        following = f"next try in {_span(each.next_try - now)}"
    return (
        f"for {_span(now - each.since)}, failures: {each.failures}, the last {_span(now - each.last)} ago; {following}"
    )


def _queue(queue: QueueStatus) -> Iterator[Line]:
    if queue.waiting is None:
        yield f"not known: {queue.why}", _UNKNOWN if queue.mta else _PLAIN
    else:
        yield f"{_number(queue.waiting, 'message')} in the queue of {queue.mta}, whatever their destination", _PLAIN
    if queue.in_flight:
        yield f"{_number(queue.in_flight, 'message')} on the way through the relay", _PLAIN


def _deliveries(told: DeliveriesStatus) -> Iterator[Line]:
    if told.today is None or told.last_30_days is None:
        yield f"not known: {told.why}", _UNKNOWN
    else:
        yield f"today {_count(told.today, told.sent_today)}", _PLAIN
        yield f"30 days {_count(told.last_30_days, told.sent_last_30_days)}", _PLAIN
    could = told.could_have_gone
    if could is None:
        yield f"what could have gone over onions is not known: {told.could_have_gone_why}", _PLAIN
    else:
        share = f"{could.with_route} of {could.recipients} recipients in the mail logs ({could.share:.1%})"
        yield f"could have gone over onions: {share}", _PLAIN


def _count(count: DeliveryCount, sent: int | None) -> str:
    of = "" if sent is None else f", of {sent} in the mail logs"
    share = f" ({count.delivered / sent:.1%})" if sent and count.delivered <= sent else ""
    return f"{count.delivered} recipients over onions{of}{share}; {count.deferred} deferred, {count.refused} refused"


def _number(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _span(seconds: float) -> str:
    """A time span in its largest unit."""
    for unit, name in ((DAY, "days"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(0.0, seconds):.0f} s"


def _clock(seconds: Timestamp) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
