"""A real Postfix by SMTP, the relay as a process, and an onion MX that refuses some recipients."""

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mapfile.maps import A
from tests.relay.onion_mx import Dialog, OnionMx, running

from .conftest import skip_without
from .postfix import Postfix
from .relay import Relay

DOMAIN = "mapped.example"
SENDER = "sender.example"
MESSAGE = f"From: <alice@{SENDER}>\r\nSubject: x\r\n\r\nHello\r\n".encode()


@contextmanager
def in_thread(mx: OnionMx) -> Iterator[OnionMx]:
    """Run it in a loop of its own."""
    started: Future[asyncio.AbstractEventLoop] = Future()
    over: asyncio.Event | None = None

    async def run() -> None:
        nonlocal over
        over = asyncio.Event()
        async with running(mx):
            started.set_result(asyncio.get_running_loop())
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    loop = started.result(20)
    try:
        yield mx
    finally:
        assert over
        loop.call_soon_threadsafe(over.set)
        thread.join()


def refuse_nobody(_dialog: Dialog, verb: str, line: str) -> str | None:
    return "550 5.1.1 no such user" if verb == "RCPT" and "nobody" in line else None


@pytest.mark.parametrize("swallows", [True, False], ids=["swallows BDAT", "does not"])
def test_postfix_by_smtp_bounces_nobody_but_those_refused(tmp_path: Path, *, swallows: bool) -> None:
    """Unknown ones first, so that the first RCPTs are refused; the last one exists."""
    if os.geteuid():
        pytest.skip("Postfix's master runs as root only")
    skip_without("postqueue", "postmap")
    with in_thread(OnionMx(refuse_nobody, swallows=swallows)) as mx:
        relay = Relay(tmp_path / "relay", ("127.0.0.1", mx.port))
        relay.publish({DOMAIN: A})
        table = f"transport_maps = inline:{{ {{ {DOMAIN} = smtp:[127.0.0.1]:{relay.smtp[1]} }} }}\n"
        with relay, Postfix(tmp_path / "postfix", SENDER, table, "smtp unix - - n - - smtp\n") as postfix:
            names = ("a-nobody", "b-nobody", "bob")
            postfix.submit(f"alice@{SENDER}", [f"{name}@{DOMAIN}" for name in names], MESSAGE)
            postfix.wait_for_log(rf"to=<bob@{DOMAIN}>.* status=sent \(250 2\.0\.0 onion-mx said: queued")
            for name in names[:2]:
                postfix.wait_for_log(
                    rf"to=<{name}@{DOMAIN}>.* status=bounced .*550 5\.1\.1 onion-mx said: no such user"
                )
    assert [taken.recipients for taken in mx.taken] == [(f"bob@{DOMAIN}",)]
