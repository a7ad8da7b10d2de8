"""Making an onion MX prove itself: STARTTLS through Tor, with a certificate that the domain's policy accepts."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from socket import socket

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.authorities import Authorities
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy
from onionmx.authenticate.proof.examine import Accepted, CertificateRefused
from onionmx.authenticate.proof.stream import ProvingStream
from onionmx.errors import TemporaryError
from onionmx.isolation import UnforeseenError, isolated
from onionmx.net.stream import SocketStream
from onionmx.onion import Endpoint, format_endpoint
from onionmx.smtp.client.dialog import DialogError, open_dialog
from onionmx.smtp.printable import printable_reply
from onionmx.target import MOST_TARGETS

Connect = Callable[[Endpoint], Awaitable[socket]]
"""Opens a connection to an onion MX, as `SocksConnector.connect` does; raises `TemporaryError`."""
LONGEST = 300.0
"""Seconds for all onion MXes of a domain together: twice as long as tor needs to say that one cannot be reached."""

_Verdict = Accepted | CertificateRefused | CouldNotTell
_TOO_MANY = f"not asked: a domain has at most {MOST_TARGETS} onion MXes"


@dataclass(frozen=True, slots=True)
class Proven:
    """Onion MXes have shown a certificate that the policy of the domain accepts.

    Attributes:
        endpoints: those that did, in route order; mail may go to no others.
        names: what was accepted: names of the certificates, and with DANE the TLSA record.
        expires: when it must be shown again, in seconds since 1970: the end of the policy or of a certificate.
        left_out: one line for each other endpoint, with the reason.
        unknown: those of the others that could not be asked.
    """

    endpoints: tuple[Endpoint, ...]
    names: tuple[str, ...]
    expires: float
    left_out: tuple[str, ...] = ()
    unknown: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class NotProven:
    """Every onion MX could be asked, and none has shown one.

    Attributes:
        reason: one line for the operator, with the reason of each.
    """

    reason: str


class PutOff(CouldNotTell, frozen=True, gc=False):
    """An onion MX was reached, and none has shown a certificate that counts: it said 4xx, fell silent or closed.

    Tor works, then: one who does not want to show a certificate could do so for ever.
    """


async def prove(  # noqa: PLR0913 -- each of them is a setting of its own
    requirement: EnforcedPolicy,
    endpoints: Sequence[Endpoint],
    connect: Connect,
    authorities: Authorities,
    *,
    hello: str,
    timeout: float,  # noqa: ASYNC109 -- for each reply, not for the whole
) -> Proven | NotProven | CouldNotTell:
    """Ask each onion MX of a route, all at the same time, for its certificate; within `LONGEST`.

    Args:
        requirement: what it must be like.
        endpoints: the targets in route order.
        connect: opens connections through Tor.
        authorities: who may vouch for a certificate.
        hello: the name for EHLO.
        timeout: seconds for each reply.

    Returns:
        `PutOff` where at least one could be reached.
    """
    reached: set[Endpoint] = set()

    async def reach(endpoint: Endpoint) -> socket:
        connection = await connect(endpoint)
        reached.add(endpoint)
        return connection

    verdicts = await _within(
        {
            endpoint: _ask(requirement.demand, endpoint, reach, authorities, hello, timeout)
            for endpoint in endpoints[:MOST_TARGETS]
        },
        reached,
    )
    verdicts |= {endpoint: CouldNotTell("", _TOO_MANY) for endpoint in endpoints[MOST_TARGETS:]}
    failures = tuple(
        f"{format_endpoint(endpoint)}: {verdict.reason}"
        for endpoint, verdict in verdicts.items()
        if not isinstance(verdict, Accepted)
    )
    proven = {endpoint: verdict for endpoint, verdict in verdicts.items() if isinstance(verdict, Accepted)}
    if proven:
        names = tuple(dict.fromkeys(name for verdict in proven.values() for name in verdict.names))
        ends = [verdict.not_after for verdict in proven.values() if verdict.not_after is not None]
        unknown = tuple(endpoint for endpoint, verdict in verdicts.items() if isinstance(verdict, CouldNotTell))
        return Proven(tuple(proven), names, min([requirement.expires, *ends]), failures, unknown)
    reason = "; ".join(failures)
    if all(isinstance(verdict, CertificateRefused) for verdict in verdicts.values()):
        return NotProven(reason)
    is_reached = any(isinstance(verdict, CertificateRefused | PutOff) for verdict in verdicts.values())
    return PutOff(requirement.domain, reason) if is_reached else CouldNotTell(requirement.domain, reason)


async def _within(
    asked: Mapping[Endpoint, Coroutine[None, None, _Verdict]], reached: Container[Endpoint]
) -> dict[Endpoint, _Verdict]:
    """Ask all at the same time; those of which nothing is known when the time is over can be told nothing about."""
    tasks = {endpoint: asyncio.create_task(one) for endpoint, one in asked.items()}
    try:
        if tasks:
            await asyncio.wait(tasks.values(), timeout=LONGEST)
        return {
            endpoint: task.result()
            if task.done()
            else _unknown(f"no proof within {LONGEST:g} s", is_reached=endpoint in reached)
            for endpoint, task in tasks.items()
        }
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def _ask(  # noqa: PLR0913, PLR0917
    demand: Demand,
    endpoint: Endpoint,
    connect: Connect,
    authorities: Authorities,
    hello: str,
    timeout: float,  # noqa: ASYNC109
) -> Accepted | CertificateRefused | CouldNotTell:
    stream: ProvingStream | None = None

    async def open_stream(where: Endpoint) -> SocketStream:
        nonlocal stream
        stream = await ProvingStream.over(await connect(where), demand, authorities)
        return stream

    try:
        with isolated(format_endpoint(endpoint)):
            async with open_dialog(open_stream, endpoint, hello, timeout) as dialog:
                if "STARTTLS" not in dialog.offered:
                    return CertificateRefused("it does not offer STARTTLS")
                reply = await dialog.start_tls()
    except DialogError as error:
        if stream is not None and stream.refusal:
            return CertificateRefused(stream.refusal)
        return _unknown(str(error), is_reached=stream is not None)
    except TemporaryError as error:
        # A fault of ours says nothing about the onion MX.
        is_reached = stream is not None and not isinstance(error, UnforeseenError)
        return _unknown(_without(str(error), endpoint), is_reached=is_reached)
    if not reply.is_positive:
        words = f"STARTTLS: {printable_reply(reply)}"
        return CertificateRefused(words) if reply.is_permanent else PutOff("", words)
    assert stream is not None  # noqa: S101 -- TLS was started on it
    assert stream.accepted is not None  # noqa: S101 -- or it would have failed
    return stream.accepted


def _unknown(reason: str, *, is_reached: bool) -> CouldNotTell:
    return PutOff("", reason) if is_reached else CouldNotTell("", reason)


def _without(text: str, endpoint: Endpoint) -> str:
    """The words of an error without the name, which is put before them anyway."""
    return text.removeprefix(f"{format_endpoint(endpoint)}: ")
