"""A real server that somebody else wrote: aiosmtpd, which pipelines DATA if it is told to offer it."""

import asyncio
import socket

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from onionmx.net.stream import SocketStream
from onionmx.smtp.envelope import Envelope as OurEnvelope
from onionmx.smtp.envelope import Recipient
from tests.smtp.client.scripted import opened, run

CONTENT = b"Subject: dots\r\n\r\n.\r\n..two\r\nlast line without an end"


class Handler:
    def __init__(self, *, offer: bool) -> None:
        self.offer = offer
        self.received: list[tuple[str | None, list[str], bytes | str | None]] = []

    async def handle_EHLO(  # noqa: N802 -- the name that aiosmtpd looks for
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [responses[0], *(["250-PIPELINING"] if self.offer else []), *responses[1:]]

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address.startswith("nobody"):
            return "550 5.1.1 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.received.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 2.0.0 taken"


@pytest.mark.parametrize("offer", [True, False], ids=["pipelined", "lock-step"])
def test_data(*, offer: bool) -> None:
    async def test() -> None:
        handler = Handler(offer=offer)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(handler, hostname="peer.example"), "127.0.0.1", 0)
        async with server:
            connected = socket.create_connection(server.sockets[0].getsockname())
            session = await opened(await SocketStream.from_socket(connected))
            assert session.extensions.pipelining == offer
            recipients = (Recipient("nobody@b.example"), Recipient("b@b.example"))
            outcome = await session.deliver(OurEnvelope("a@a.example", recipients, body="8BITMIME"), CONTENT)
            assert [str(outcome.answer(index)) for index in range(2)] == [
                "550 5.1.1 onion-mx said: nobody of that name",
                "250 2.0.0 onion-mx said: taken",
            ]
            assert outcome.round_trips == (2 if offer else 5)
            refused = await session.deliver(OurEnvelope("a@a.example", recipients[:1]), CONTENT)
            assert not refused.is_delivered
            again = await session.deliver(OurEnvelope("", recipients[1:]), CONTENT)
            assert again.is_delivered
            await session.close()
        expected = CONTENT + b"\r\n"
        assert handler.received == [("a@a.example", ["b@b.example"], expected), ("<>", ["b@b.example"], expected)]

    run(test())
