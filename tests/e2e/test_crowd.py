"""The relay in a user namespace, as its unit has it, with a local user who wants all of its connections.

Exim ── onionmx relay ── stand-in for tor ── Exim
"""

import asyncio
from pathlib import Path

from tests.net.crowd import crowd
from tests.net.stranger import UID, user_namespace
from tests.onions import V3_ONION

from .exim import Exim
from .receiving import DOMAIN, exim_receiver
from .relay import Relay
from .relay_site import exim_macros, exim_parts
from .test_relay_sessions import MESSAGE, folder, standing_in_for_tor

__all__ = ["folder"]

LIMIT = 900
MESSAGES = 20


@user_namespace
def test_exim_delivers_at_once_although_another_user_holds_all_connections(folder: Path) -> None:
    """In transactions, which he keeps alive: to the relay he and Exim are one user."""
    with (
        exim_receiver(folder / "mx") as mx,
        standing_in_for_tor(folder, mx.port) as socks,
        Relay(
            folder / "relay", socks, [f"max_connections = {LIMIT}"], wrap=["unshare", "--user", "--map-root-user"]
        ) as relay,
    ):
        relay.publish({DOMAIN: V3_ONION})
        with Exim(folder / "exim", "sender.example", exim_macros(relay), exim_parts()) as exim:

            async def send() -> None:
                words = b"LHLO x\r\nMAIL FROM:<>\r\n"
                async with crowd(relay.lmtp[1], LIMIT, LIMIT, words, b"NOOP\r\n", UID):
                    for _ in range(MESSAGES):
                        exim.submit("carol@sender.example", [f"alice@{DOMAIN}"], MESSAGE.encode())
                    mx.wait_for_delivered(MESSAGES)

            asyncio.run(send())
            assert " == " not in exim.log_text()
    assert f"{LIMIT} connections: idle ones are closed for others" in relay.log_text()
    assert "users that cannot be told" in relay.log_text()
