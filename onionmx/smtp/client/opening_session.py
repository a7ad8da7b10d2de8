"""Opening a session: as a whole, or so far that a first message may leave before the peer has said a word."""

import asyncio
import ssl
from collections.abc import Callable

from onionmx.net.stream import Stream
from onionmx.smtp.client.core import ClientConnection
from onionmx.smtp.client.driver import Driver
from onionmx.smtp.client.session import ClientSession
from onionmx.smtp.client.states import Chunks, Early, State, TlsPolicy
from onionmx.smtp.client.timeouts import NO_TIME, Timeouts
from onionmx.smtp.extensions import Extensions
from onionmx.smtp.faults import EnvelopeError


async def open_session(  # noqa: PLR0913 -- each of them is a setting of its own
    stream: Stream,
    *,
    hello: str,
    tls: TlsPolicy = TlsPolicy.NEVER,
    tls_context: ssl.SSLContext | None = None,
    chunks: Chunks = Chunks.USE,
    remembered: Extensions | None = None,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 -- frozen
    deadline: float | None = None,
    on_broken: Callable[[], None] = lambda: None,
) -> ClientSession:
    """Go through greeting, EHLO and STARTTLS where wanted.

    Args:
        stream: connected, and from here on the session's own: it is closed if no session comes about.
        hello: the name for EHLO.
        tls: when to start TLS.
        tls_context: what to start it with; by default certificates are not checked.
        chunks: whether to send content with BDAT.
        remembered: see `ClientConnection`.
        timeouts: how long the peer may be silent.
        deadline: time of the event loop at which to give up, beside the timeouts.
        on_broken: called if the session comes out of step once it is open.

    Raises:
        OpeningError: the peer does not take mail from us; has the reply for the MTA.
        EnvelopeError: the name cannot be said in EHLO.
    """
    try:
        core = ClientConnection(hello, tls, chunks, remembered)
    except EnvelopeError:
        stream.abort()
        raise
    driver = Driver(core, stream, timeouts, tls_context)
    session = ClientSession(driver)
    try:
        async with asyncio.timeout_at(deadline):
            await driver.until(lambda: core.state in {State.READY, State.QUITTING})
    except TimeoutError:
        driver.lose(NO_TIME)
    except BaseException:
        session.abort()
        raise
    if session.is_usable:
        driver.on_broken = on_broken
        return session
    await session.close()
    raise driver.why_not_open()


def begin_early(  # noqa: PLR0913 -- each of them is a setting of its own
    stream: Stream,
    *,
    hello: str,
    remembered: Extensions,
    early: Early,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 -- frozen
    on_broken: Callable[[], None] = lambda: None,
) -> ClientSession:
    """A session that takes a message before its peer has said anything; its `opened` tells what came of it.

    Args:
        stream: see `open_session`; connected, or on its way to the peer: then it raises `UnreachedError` where nothing
            has come there.
        hello: the name for EHLO.
        remembered: what the peer announced the last time.
        early: what does not wait for it.
        timeouts: how long the peer may be silent.
        on_broken: called if the session comes out of step.
    """
    driver = Driver(ClientConnection(hello, remembered=remembered, early=early), stream, timeouts, None)
    driver.on_broken = on_broken
    driver.dispatch()
    return ClientSession(driver)
