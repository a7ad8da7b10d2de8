"""A relay's control sockets, without the relay behind them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from onionmx.config import RelaySection
from onionmx.relay.pages.control import bind_control, control_pages
from onionmx.serve.http.server import serve_http
from onionmx.status.model import RelayStatus
from tests.serve.page.statuses import AT, DAYS, FAILING

TOLD = RelayStatus(version="1", at=AT, started=AT, in_flight=2, sessions=3, failing=FAILING, days=DAYS)


@asynccontextmanager
async def relay(settings: RelaySection, status: RelayStatus) -> AsyncIterator[None]:
    """The control socket of a relay that knows this."""

    async def tell() -> RelayStatus:
        return status

    (bound,) = bind_control(settings)
    assert bound is not None
    server = await serve_http(bound, control_pages(tell))
    try:
        yield
    finally:
        await server.close()
