"""A relay behind its server, with a scripted peer instead of tor and the onion MXes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onionmx.config import AuthenticateSection, Configuration, MapSection, RelaySection, SyncSection, TorSection
from onionmx.onion import Endpoint
from onionmx.relay.service import RelayCore
from onionmx.smtp.client.timeouts import Timeouts
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.reply import Reply
from onionmx.smtp.server import Client
from tests.mapfile.maps import A, B, make_map
from tests.relay.peer import Peer, running

LMTP = Client(1, is_lmtp=True, protocol="LMTP")
SMTP = Client(1, is_lmtp=False, protocol="ESMTP")
AMPLE = 60.0
"""Seconds for one message; what is expected may come late on a busy machine."""
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


class Relay:
    """A relay whose SOCKS port and onion MXes are a scripted peer."""

    def __init__(self, delivering: RelayCore, peer: Peer) -> None:
        self.delivering = delivering
        self.peer = peer

    def take_time(self) -> None:
        """From now on no deadline is near: for what must succeed after something that must not."""
        take_time(self.delivering)

    async def send(
        self, *recipients: str, client: Client = LMTP, content: bytes | AsyncIterator[bytes] = MESSAGE
    ) -> Sequence[Reply]:
        """The replies to RCPT, and behind them those to the content if a recipient was accepted."""
        transaction = self.delivering.begin(Envelope("me@sender.test"), client)
        replies = [await transaction.recipient(Recipient(one), more_follow=False) for one in recipients]
        if any(reply.is_positive for reply in replies):
            chunks = pieces(content) if isinstance(content, bytes) else content
            return [*replies, *await transaction.content(chunks)]
        await transaction.abandon()
        return replies


def take_time(delivering: RelayCore) -> None:
    delivering._handling.courier._deadline = AMPLE  # noqa: SLF001
    delivering._opener._timeouts = Timeouts()  # noqa: SLF001


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 65536):
        yield content[start : start + 65536]


def play(
    tmp_path: Path,
    test: Callable[[Relay], Awaitable[Any]],
    peer: Peer | None = None,
    entries: Mapping[str, tuple[Endpoint, ...]] | None = None,
    authenticate: AuthenticateSection = AuthenticateSection(),  # noqa: B008 -- frozen
    **settings: Any,  # noqa: ANN401 -- fields of the section
) -> Any:  # noqa: ANN401
    """Run a test with a relay that has a map of these entries."""
    peer = peer or Peer()
    routes = entries or {"example.org": ((A, 25),), "two.example": ((A, 25), (B, 2525))}

    async def run() -> Any:  # noqa: ANN401
        async with running(peer):
            configuration = configured(tmp_path, peer.port, routes, authenticate, **settings)
            delivering = RelayCore(configuration)
            try:
                return await asyncio.wait_for(test(Relay(delivering, peer)), 120)
            finally:
                await delivering.close()

    return asyncio.run(run())


def configured(
    tmp_path: Path,
    socks: int,
    entries: Mapping[str, tuple[Endpoint, ...]],
    authenticate: AuthenticateSection = AuthenticateSection(),  # noqa: B008 -- frozen
    **settings: Any,  # noqa: ANN401 -- fields of the section
) -> Configuration:
    """The configuration of a relay with a map of these entries and a SOCKS port on loopback."""
    make_map(tmp_path / "map.cdb", entries)
    (tmp_path / "pins").touch()
    arguments: dict[str, Any] = {"hostname": "mx.sender.test", "deadline": AMPLE} | settings
    return Configuration(
        map=MapSection(path=str(tmp_path / "map.cdb")),
        sync=SyncSection(pins=str(tmp_path / "pins")),
        tor=TorSection(socks=f"127.0.0.1:{socks}"),
        relay=RelaySection(**arguments),
        authenticate=authenticate,
    )


def codes(replies: Sequence[Reply]) -> list[str]:
    return [f"{reply.code} {reply.enhanced}" for reply in replies]
