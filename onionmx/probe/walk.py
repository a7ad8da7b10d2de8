"""The way through one onion MX, step by step: connection, greeting, EHLO, STARTTLS, the address, and goodbye."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from onionmx.errors import OnionmxError, TemporaryError
from onionmx.net.connect import OpenStream
from onionmx.probe import tls
from onionmx.probe.report import Observation, ProbeStep, StepResult, TargetReport
from onionmx.smtp.client.dialog import Dialog, DialogError
from onionmx.smtp.envelope import Envelope, Recipient, check_hello
from onionmx.smtp.extensions import Extensions
from onionmx.smtp.printable import printable, printable_reply
from onionmx.smtp.reply import Reply
from onionmx.target import Target
from onionmx.tor.socks import Cause, SocksError

T = TypeVar("T")

DEFAULT_TIMEOUT = 60.0
"""Seconds for each reply. RFC 5321 allows 300; a server that needs more than this one is not healthy."""


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """What to ask each target.

    Attributes:
        hello: the name for EHLO.
        recipient: asked for with MAIL and RCPT; empty for neither.
        sender: the mailbox for MAIL; empty for `<>`.
        require_tls: a target without STARTTLS is at fault.
        timeout: seconds for each reply.

    Raises:
        EnvelopeError: one of them cannot be put on the wire.
    """

    hello: str
    recipient: str = ""
    sender: str = ""
    require_tls: bool = False
    timeout: float = DEFAULT_TIMEOUT

    def __post_init__(self) -> None:
        check_hello(self.hello)
        _ = self.envelope

    @property
    def envelope(self) -> Envelope:
        """The addresses as they are put on the wire."""
        is_international = not (self.sender + self.recipient).isascii()
        recipients = (Recipient(self.recipient),) if self.recipient else ()
        return Envelope(self.sender, recipients, smtputf8=is_international)

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps on which everything depends, in order."""
        secured = ("STARTTLS",) if self.require_tls else ()
        return ("connect", "greeting", "EHLO", *secured, *(("MAIL", "RCPT") if self.recipient else ()))


async def walk(target: Target, questions: ProbeOptions, connect: OpenStream, domain: str) -> TargetReport:
    """Go through one onion MX; every fault of it becomes a finding.

    Args:
        questions: what to ask.
        connect: how to reach it.
        domain: whose mail it takes, for a look at the names in the certificate.
    """
    steps = _Walk(target, questions, connect, domain)
    await steps.go()
    return TargetReport(target, tuple(steps.taken))


class _Walk:
    def __init__(self, target: Target, questions: ProbeOptions, connect: OpenStream, domain: str) -> None:
        self.taken: list[ProbeStep] = []
        self._target = target
        self._questions = questions
        self._connect = connect
        self._domain = domain

    async def go(self) -> None:
        stream = await self._measure("connect", self._connect(self._target.endpoint), lambda _: _connected())
        if stream is not None:
            dialog = Dialog(stream, self._questions.hello, self._questions.timeout)
            try:
                if await self._open(dialog) and await self._secure(dialog):
                    await self._ask(dialog)
                if dialog.is_usable:
                    await self._measure("QUIT", _forgiven(dialog.quit()), lambda finding: finding)
            finally:
                dialog.abort()
            await stream.wait_closed()
        self._note_what_was_not_reached()

    async def _open(self, dialog: Dialog) -> bool:
        if await self._measure("greeting", dialog.greet(), _judge) is None:
            return False
        return await self._measure("EHLO", dialog.say_hello(), lambda reply: _describe_hello(reply, dialog)) is not None

    async def _secure(self, dialog: Dialog) -> bool:
        if not dialog.extensions.starttls:
            finding = _TLS_MISSING if self._questions.require_tls else _TLS_NOT_OFFERED
            self.taken.append(ProbeStep("STARTTLS", None, finding))
            return finding.outcome.is_good
        reply = await self._measure(
            "STARTTLS", dialog.start_tls(), lambda reply: tls.describe_handshake(reply, dialog.tls)
        )
        if reply is None:
            # That it offers what it does not give is noted; a peer that only refused still answers in the clear.
            return dialog.is_usable
        await self._look_at_certificate(dialog)
        again = dialog.say_hello()
        return await self._measure("EHLO in TLS", again, lambda reply: _describe_hello(reply, dialog)) is not None

    async def _look_at_certificate(self, dialog: Dialog) -> None:
        wanted = (self._domain, self._target.onion, printable(dialog.extensions.hello))
        finding, certificate = tls.describe_certificate(tls.peer_certificate(dialog), wanted)
        self.taken.append(ProbeStep("certificate", None, finding))
        # For the others the answer is known, and the handshake would only put an error into the log of the peer.
        if certificate and not certificate.is_self_signed and finding.outcome is StepResult.OK:
            await self._measure("authority", self._ask_for_chain(), lambda finding: finding)

    async def _ask_for_chain(self) -> Observation:
        endpoint, questions = self._target.endpoint, self._questions
        try:
            return await tls.ask_for_chain(self._connect, endpoint, questions.hello, questions.timeout)
        except TemporaryError as error:
            return Observation(StepResult.WARNING, f"could not tell: {printable(str(error))}")

    async def _ask(self, dialog: Dialog) -> None:
        envelope = self._questions.envelope
        if not envelope.recipients:
            return
        if refusal := envelope.refusal(dialog.extensions):
            self.taken.append(ProbeStep("MAIL", None, Observation(StepResult.FAILED, refusal.text)))
            return
        if await self._measure("MAIL", dialog.command(_line(envelope, dialog.extensions)), _judge) is None:
            return
        for recipient in envelope.recipients:
            await self._measure("RCPT", dialog.command(_line(recipient, dialog.extensions)), _judge)
        if dialog.is_usable:
            await self._measure("RSET", dialog.command("RSET"), _judge)

    async def _measure(self, name: str, asked: Awaitable[T], tell: Callable[[T], Observation]) -> T | None:
        """Take a step and note what it has brought; gives the answer if the next step makes sense."""
        clock = asyncio.get_running_loop().time
        start = clock()
        try:
            answer = await asked
        except TemporaryError as error:
            self.taken.append(ProbeStep(name, clock() - start, _describe_error(error)))
            return None
        seconds = clock() - start
        finding = tell(answer)
        self.taken.append(ProbeStep(name, seconds, finding))
        return answer if finding.outcome.is_good else None

    def _note_what_was_not_reached(self) -> None:
        taken = {step.name for step in self.taken}
        missing = Observation(StepResult.NOT_REACHED, "")
        self.taken += [ProbeStep(name, None, missing) for name in self._questions.steps if name not in taken]


_TLS_NOT_OFFERED = Observation(StepResult.OK, "not offered; the onion service encrypts", detail={"offered": False})
_TLS_MISSING = Observation(
    StepResult.FAILED, "not offered", "give the MTA a certificate and let it offer STARTTLS", {"offered": False}
)


def _connected() -> Observation:
    return Observation(StepResult.OK, "connected")


def _line(command: Envelope | Recipient, extensions: Extensions) -> str:
    return command.command(extensions).decode().removesuffix("\r\n")


def _judge(reply: Reply) -> Observation:
    """Sort a reply by its first digit; one that begins with 3 answers none of these questions."""
    outcome = (
        StepResult.OK if reply.is_positive else StepResult.COULD_NOT_TELL if reply.is_transient else StepResult.FAILED
    )
    advice = "the server refuses for now: try again later" if reply.is_transient else ""
    detail = {"code": reply.code, "enhanced": reply.enhanced, "text": printable(reply.text)}
    return Observation(outcome, printable_reply(reply), advice, detail)


def _describe_hello(reply: Reply, dialog: Dialog) -> Observation:
    judged = _judge(reply)
    if not reply.is_positive:
        return judged
    offered = {printable(keyword): printable(parameters) for keyword, parameters in dialog.offered.items()}
    words = ", ".join(" ".join(filter(None, pair)) for pair in offered.items()) or "no extensions"
    name = printable(dialog.extensions.hello)
    return Observation(StepResult.OK, printable(f"{name}: {words}"), detail={"name": name, "extensions": offered})


async def _forgiven(asked: Awaitable[Reply]) -> Observation:
    """Nothing depends on the answer to QUIT."""
    try:
        reply = await asked
    except DialogError as error:
        return Observation(StepResult.WARNING, printable(str(error)))
    return Observation(StepResult.OK if reply.is_positive else StepResult.WARNING, printable_reply(reply))


def _describe_error(error: OnionmxError) -> Observation:
    if isinstance(error, SocksError):
        outcome = StepResult.FAILED if error.cause is Cause.BAD_ADDRESS else StepResult.COULD_NOT_TELL
        detail = {"cause": error.cause.name, "reply": error.cause.reply}
        return Observation(outcome, printable(error.words), error.cause.advice, detail)
    words = printable(str(error))
    if isinstance(error, DialogError) and error.is_violation:
        if isinstance(error.__cause__, ssl.SSLError):
            return Observation(StepResult.FAILED, words, "look for the TLS error in the log of the MTA")
        return Observation(
            StepResult.FAILED, words, "compare HiddenServicePort with the address on which the MTA speaks SMTP"
        )
    return Observation(StepResult.COULD_NOT_TELL, words, "look into the log of the MTA behind the onion service")
