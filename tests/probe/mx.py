"""A SOCKS port and an onion MX behind it, with STARTTLS where a test gives it a certificate."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from onionmx.answer import Answer
from onionmx.probe.report import ProbeStep, StepResult, TargetReport
from onionmx.probe.run import probe
from onionmx.probe.walk import ProbeOptions
from onionmx.smtp.client.dialog import Dialog, open_dialog
from onionmx.tor.socks import SocksConnector, over_tor
from tests.mapfile.maps import A
from tests.relay.peer import Peer, running

PATIENCE = 120.0
"""Seconds after which a test that hangs has failed."""
SHORT = 1.5
"""Seconds to wait for what never comes, each step for itself; those before it must come in that time."""

OFFERING_TLS = "250-mx.example\r\n250-STARTTLS\r\n250 PIPELINING\r\n"


@dataclass
class Mx(Peer):
    """What it does beyond what a peer of the relay does.

    Attributes:
        context: for STARTTLS.
        is_behind_socks: whether CONNECT comes before SMTP.
        on_connect: called when a connection was asked for, which is then never answered.
        connections: what serves each of them.
    """

    context: ssl.SSLContext | None = None
    is_behind_socks: bool = True
    on_connect: Callable[[], None] | None = None
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        served = asyncio.create_task(super().serve(reader, writer))
        self.connections.add(served)
        await asyncio.wait([served])

    async def finish(self) -> None:
        """Wait until the clients are gone."""
        for served in self.connections:
            await served

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if self.on_connect:
            self.on_connect()
            await reader.read()
            return False
        return not self.is_behind_socks or await super()._connect(reader, writer)

    async def _say(self, verb: str, writer: asyncio.StreamWriter) -> bool:
        goes_on = await super()._say(verb, writer)
        if goes_on and verb == "STARTTLS" and self.context:
            await writer.start_tls(self.context)
        return goes_on


def run(test: Awaitable[None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(PATIENCE):
            await test

    asyncio.run(limited())


def connector_of(peer: Peer) -> SocksConnector:
    return SocksConnector(f"127.0.0.1:{peer.port}", PATIENCE)


def dialog_with(mx: Mx, test: Callable[[Dialog], Awaitable[None]], patience: float = PATIENCE) -> None:
    """Open a dialogue through the SOCKS port."""

    async def session() -> None:
        async with running(mx):
            connector = connector_of(mx)
            try:
                async with open_dialog(over_tor(connector), (A, 25), "client.example", patience) as dialog:
                    await test(dialog)
            finally:
                connector.close()
                await mx.finish()

    run(session())


async def _nobody(_domain: str) -> Answer:
    raise AssertionError("an onion needs no lookup")


def probed(mx: Mx, questions: ProbeOptions) -> TargetReport:
    """Probe the onion MX by its onion."""
    reports: list[TargetReport] = []

    async def session() -> None:
        async with running(mx):
            connector = connector_of(mx)
            try:
                report = await probe((A, 25), questions, _nobody, over_tor(connector))
            finally:
                connector.close()
                await mx.finish()
            reports.extend(report.targets)

    run(session())
    (report,) = reports
    return report


def ask_for(
    address: str = "", *, sender: str = "", require_tls: bool = False, patience: float = PATIENCE
) -> ProbeOptions:
    return ProbeOptions("client.example", address, sender, require_tls, patience)


def outcomes(report: TargetReport) -> dict[str, StepResult]:
    return {step.name: step.finding.outcome for step in report.steps}


def step(report: TargetReport, name: str) -> ProbeStep:
    (found,) = (step for step in report.steps if step.name == name)
    return found
