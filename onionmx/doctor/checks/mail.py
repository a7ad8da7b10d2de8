"""Being a client of this host's onion service: what does the MX allow one? Nothing is ever sent: no DATA, only RSET.

Four sessions at once, each with fewer refusals than MTAs tolerate (Postfix slows down after 10, Exim and Postfix hang
up after some more); where one ends early, another goes on with the rest.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain

from onionmx.doctor.checks.ports import SOCKS
from onionmx.doctor.checks.relaying import (
    ACCEPTS,
    ELSEWHERE,
    OPEN_RELAY,
    Tried,
    TriedRecipient,
    fix_for,
    judge_relaying,
)
from onionmx.doctor.checks.service import SERVICE
from onionmx.doctor.finding import Finding, Severity, blocking, not_checked, ok, problem, warning
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import Check, Topic
from onionmx.domain import normalize
from onionmx.errors import OnionmxError
from onionmx.net.connect import OpenStream
from onionmx.onion import Endpoint
from onionmx.smtp.client.dialog import Dialog, DialogError
from onionmx.smtp.faults import OpeningError
from onionmx.smtp.printable import printable, printable_reply
from onionmx.smtp.reply import Reply
from onionmx.tor.socks import over_tor

RIGHTS = Topic(
    "rights",
    "clients of the onion service get no more rights than strangers: no AUTH in the clear, VRFY, EXPN, ETRN, XCLIENT",
    "all of them come from the same address, so nothing slows down one that guesses passwords or collects addresses, "
    "and an MTA that takes this address for its own host gives away more than it should",
)
REPLY_TIMEOUT = 30.0
"""Seconds for one reply; an MTA may look things up before it answers RCPT."""
_CANNOT_VERIFY = 252
_ORDER = (*ELSEWHERE, TriedRecipient.NOBODY, TriedRecipient.POSTMASTER)

_IMPERSONATION = {
    "XCLIENT": "master.cf, below the smtpd for the onion service: -o smtpd_authorized_xclient_hosts=",
    "XFORWARD": "master.cf, below the smtpd for the onion service: -o smtpd_authorized_xforward_hosts=",
}
_AUTH = {
    "exim": "exim: auth_advertise_hosts = ${if eq{$received_ip_address}{127.0.0.2}{}{*}}",
    "postfix": "master.cf, below the smtpd for the onion service: -o smtpd_sasl_auth_enable=no",
}


class MailQuestion(Enum):
    """What is asked about rights beside mail."""

    VRFY = "VRFY postmaster@{local}"
    VRFY_NOBODY = "VRFY {nobody}@{local}"
    EXPN = "EXPN postmaster"
    ETRN = "ETRN {local}"


_FIXES = {
    MailQuestion.VRFY: {"exim": "exim: acl_smtp_vrfy = deny", "postfix": "main.cf: disable_vrfy_command = yes"},
    MailQuestion.EXPN: {"exim": "exim: acl_smtp_expn = deny"},
    MailQuestion.ETRN: {
        "exim": "exim: acl_smtp_etrn = deny",
        "postfix": "master.cf, below the smtpd for the onion service: -o smtpd_etrn_restrictions=reject",
    },
}


@dataclass(slots=True)
class _Transaction:
    """What is tried with one sender.

    Attributes:
        sender: reverse path.
        waiting: recipients that were not answered yet.
        tried: those that were.
        cause: why some are left.
        is_worth_more: whether another session may bring more.
    """

    sender: str
    waiting: dict[TriedRecipient, str]
    tried: list[Tried] = field(default_factory=list)
    cause: str = ""
    is_worth_more: bool = True

    @property
    def result(self) -> list[Tried]:
        left = (Tried(self.sender, kind, address, None, self.cause) for kind, address in self.waiting.items())
        return [*self.tried, *left]

    def take(self, kind: TriedRecipient, reply: Reply) -> None:
        self.tried.append(Tried(self.sender, kind, self.waiting.pop(kind), reply))


class StrangerSession:
    """A client of an onion MX that asks and never sends.

    Args:
        connect: gives it its streams.
        hello: its name for EHLO.
        local: a domain of the MX.
        foreign: a domain that is none of its.
    """

    def __init__(self, connect: OpenStream, endpoint: Endpoint, hello: str, local: str, foreign: str) -> None:
        self._connect = connect
        self._endpoint = endpoint
        self._hello = hello
        self._local = local
        self._foreign = foreign
        self._greeting = ""

    async def look(self) -> list[Finding]:
        """Try everything."""
        nobody = f"onionmx-doctor-{secrets.token_hex(8)}"
        recipients = {kind: kind.address(self._local, self._foreign, nobody) for kind in _ORDER}
        senders = (f"postmaster@{self._foreign}", f"postmaster@{self._local}", "")
        transactions = [_Transaction(sender, dict(recipients)) for sender in senders]
        trying = asyncio.gather(*(self._try(transaction) for transaction in transactions))
        rights, _ = await asyncio.gather(self._look_at_rights(nobody), trying)
        for transaction in transactions:
            if transaction.waiting and transaction.is_worth_more:  # the MX may tolerate one session at a time only
                await self._try(transaction)
        tried = list(chain.from_iterable(transaction.result for transaction in transactions))
        return [*judge_relaying(tried, self._greeting), *rights]

    async def _try(self, transaction: _Transaction) -> None:
        """Ask for all recipients that are left, in further sessions where each brings the end nearer."""
        left = len(transaction.waiting) + 1
        while transaction.waiting and len(transaction.waiting) < left:
            left = len(transaction.waiting)
            try:
                async with self._session() as dialog:
                    await _ask(dialog, transaction)
            except OnionmxError as error:
                transaction.cause = str(error)
                transaction.is_worth_more = isinstance(error, DialogError | OpeningError)

    async def _look_at_rights(self, nobody: str) -> list[Finding]:
        replies: dict[MailQuestion, Reply] = {}
        offered: Mapping[str, str] | None = None
        cause = ""
        try:
            async with self._session() as dialog:
                offered = dialog.offered
                for question in MailQuestion:
                    line = question.value.format(local=self._local, nobody=nobody)
                    replies[question] = await dialog.command(line)
        except OnionmxError as error:
            cause = str(error)
        if offered is None:
            return [not_checked(RIGHTS.name, cause)]
        findings = judge_rights(offered, replies, self._greeting)
        if len(replies) < len(MailQuestion):
            asked = ", ".join(question.name for question in MailQuestion if question not in replies)
            return [*(finding for finding in findings if finding.fix), not_checked(RIGHTS.name, f"{asked}: {cause}")]
        return findings

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Dialog]:
        """A session past EHLO; beside what `open_dialog` does, it keeps the greeting."""
        dialog = Dialog(await self._connect(self._endpoint), self._hello, REPLY_TIMEOUT)
        try:
            greeting = await dialog.greet()
            self._greeting = greeting.text
            for reply in (greeting, await dialog.say_hello() if greeting.is_positive else greeting):
                if not reply.is_positive:
                    raise OpeningError(f"the MX refuses the session: {printable_reply(reply)}", reply)
            yield dialog
        except asyncio.CancelledError:
            dialog.abort()
            raise
        finally:
            await dialog.close()


async def _ask(dialog: Dialog, transaction: _Transaction) -> None:
    """One transaction with all recipients that are left, and then nothing of it."""
    reply = await _command(dialog, f"MAIL FROM:<{transaction.sender}>")
    if not reply.is_positive:
        for kind in list(transaction.waiting):
            transaction.take(kind, reply)
        return
    for kind, address in list(transaction.waiting.items()):
        transaction.take(kind, await _command(dialog, f"RCPT TO:<{address}>"))
    await dialog.command("RSET")


async def _command(dialog: Dialog, line: str) -> Reply:
    """A reply that is one to this command, and not to the whole session as 421 is."""
    reply = await dialog.command(line)
    if not dialog.is_usable:
        raise DialogError(f"the MX ended the session: {printable_reply(reply)}")
    return reply


def judge_rights(offered: Mapping[str, str], replies: Mapping[MailQuestion, Reply], greeting: str) -> list[Finding]:
    """Judge what the MX offers to anybody.

    Args:
        offered: extensions in the response to EHLO in the clear, with their parameters.
        replies: to the questions.
        greeting: its first words, which name the program.
    """
    findings = [
        problem(RIGHTS.name, f"{name} is offered: a client may pass itself off as another", fix)
        for name, fix in _IMPERSONATION.items()
        if name in offered
    ]
    if "AUTH" in offered:
        seen = f"AUTH {printable(offered['AUTH'])} is offered without TLS".replace("  ", " ")
        findings.append(problem(RIGHTS.name, seen, fix_for(greeting, _AUTH)))
    findings += [
        warning(
            RIGHTS.name, f"{question.name} is answered: {printable_reply(reply)}", fix_for(greeting, _FIXES[question])
        )
        for question, reply in replies.items()
        if question in _FIXES and _is_answered(question, reply, replies)
    ]
    return findings or [ok(RIGHTS.name, f"offered: {printable(' '.join(offered))}; nothing more than mail")]


def _is_answered(question: MailQuestion, reply: Reply, replies: Mapping[MailQuestion, Reply]) -> bool:
    if question is not MailQuestion.ETRN and reply.code == _CANNOT_VERIFY:
        # Postfix says this of everybody who exists, and refuses the others: that is an answer, too.
        stranger = replies.get(MailQuestion.VRFY_NOBODY)
        return question is MailQuestion.VRFY and stranger is not None and stranger.is_permanent
    return reply.is_positive


async def look_at_mail(machine: Machine) -> Sequence[Finding]:
    """Connect to this host's onion over Tor, and try what a stranger might try."""
    names = [topic.name for topic in (ACCEPTS, OPEN_RELAY, RIGHTS)]
    domains = machine.local_domains()
    foreign = normalize(machine.configuration.doctor.foreign_domain)
    if not domains:
        return [
            not_checked(name, "local.domains is empty", 'onionmx.toml: [local] domains = ["example.org"]')
            for name in names
        ]
    if foreign in domains:
        seen = f"doctor.foreign_domain {foreign} is one of the local domains"
        return [not_checked(name, seen, 'onionmx.toml: [doctor] foreign_domain = "example.net"') for name in names]
    endpoints = await machine.mail_endpoints()
    if not endpoints:
        return [not_checked(name, "no onion of this host is known", cause=SERVICE.name) for name in names]
    connect = over_tor(machine.parts.socks)
    hello = machine.configuration.relay.ehlo_name
    looks = [StrangerSession(connect, endpoint, hello, domains[0], foreign).look() for endpoint in endpoints]
    findings = chain.from_iterable(await asyncio.gather(*looks))
    return [blocking(one, SOCKS.name) if one.severity is Severity.NOT_CHECKED else one for one in findings]


CHECK = Check((ACCEPTS, OPEN_RELAY, RIGHTS), look_at_mail)
