"""Deciding from replies whether an MTA relays for strangers; no I/O.

An address such as `user%example.net@example.org` may be an order to relay (RFC 5321 appendix C, RFC 1123 section
5.2.16), or just a mailbox with a strange name. The reply to a recipient that nobody can have tells which.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from onionmx.doctor.finding import Finding, not_checked, ok, problem, warning
from onionmx.doctor.runner import Topic
from onionmx.smtp.printable import printable_reply
from onionmx.smtp.reply import Reply

ACCEPTS = Topic(
    "accepts-mail",
    "the MX takes mail for postmaster of a local domain through the onion",
    "every mail domain has a postmaster (RFC 5321 section 4.5.1); if even that is refused, nothing arrives over Tor",
)
OPEN_RELAY = Topic(
    "open-relay",
    "the MX refuses recipients elsewhere, for any sender and any spelling",
    "an open relay behind an onion is found and used to send spam in your name, and nothing shows who it was",
    essential=True,
)


class TriedRecipient(Enum):
    """What is tried as a recipient: in words, and as it is written."""

    PLAIN = ("plain", "postmaster@{foreign}")
    ROUTE = ("source route", "@{local}:postmaster@{foreign}")
    PERCENT = ("percent hack", "postmaster%{foreign}@{local}")
    QUOTED = ("quoted address", '"postmaster@{foreign}"@{local}')
    BANG = ("bang path", "{foreign}!postmaster@{local}")
    NOBODY = ("somebody who does not exist", "{nobody}@{local}")
    POSTMASTER = ("postmaster", "postmaster@{local}")

    @property
    def words(self) -> str:
        """What it is called."""
        words, _ = self.value
        return words

    def address(self, local: str, foreign: str, nobody: str) -> str:
        """The path for RCPT.

        Args:
            local: a domain of this host.
            foreign: a domain that is none of its.
            nobody: a local part that nobody has.
        """
        _, template = self.value
        return template.format(local=local, foreign=foreign, nobody=nobody)


ELSEWHERE = (
    TriedRecipient.PLAIN,
    TriedRecipient.ROUTE,
    TriedRecipient.PERCENT,
    TriedRecipient.QUOTED,
    TriedRecipient.BANG,
)
"""Those whose mail would leave this host."""
UNMISTAKABLE = frozenset({TriedRecipient.PLAIN, TriedRecipient.ROUTE})
"""Those that cannot be a mailbox here: a source route is to be stripped (RFC 5321 section 4.1.1.3)."""

# The domain, not the right to send there: such a refusal says nothing about relaying.
_NO_SUCH_PLACE = re.compile(r"unrout|no smtp service|mx record|null ?mx|domain not found|no such domain", re.IGNORECASE)
_NO_SUCH_PLACE_CODES = frozenset({"5.1.2", "5.1.10", "5.4.4"})  # RFC 3463, RFC 7505
_NULL_MX = 556  # RFC 7504

_FIXES = {
    "exim": "exim acl_smtp_rcpt, before every accept: deny domains = ! +local_domains : ! +relay_to_domains\n"
    "exim acl_smtp_rcpt, before every accept: deny local_parts = ^.*[@%!/|]",
    "postfix": "master.cf, below the smtpd for the onion service: -o mynetworks=\n"
    "master.cf, below the smtpd for the onion service: -o smtpd_relay_restrictions=reject_unauth_destination\n"
    "main.cf: allow_untrusted_routing = no",
}


@dataclass(frozen=True, slots=True)
class Tried:
    """The reply to one recipient of one sender.

    Attributes:
        sender: reverse path, empty for the null sender.
        recipient: what was tried.
        address: how it was written.
        reply: what the MX said, to RCPT, or to MAIL where it refused that; `None` if it said nothing.
        cause: why there is no reply.
    """

    sender: str
    recipient: TriedRecipient
    address: str
    reply: Reply | None
    cause: str = ""

    @property
    def is_accepted(self) -> bool:
        """Whether mail for the recipient would be taken."""
        return self.reply is not None and self.reply.is_positive

    @property
    def is_refused(self) -> bool:
        """Whether it would be refused for good, and not because the domain elsewhere takes no mail."""
        return self.reply is not None and self.reply.is_permanent and not self._is_about_the_domain

    @property
    def _is_about_the_domain(self) -> bool:
        return self.reply is not None and (
            self.reply.code == _NULL_MX
            or self.reply.enhanced in _NO_SUCH_PLACE_CODES
            or _NO_SUCH_PLACE.search(self.reply.text) is not None
        )

    def __str__(self) -> str:
        said = printable_reply(self.reply) if self.reply else self.cause
        return f"<{self.address}> from <{self.sender}>: {said}"


def judge_relaying(tried: Sequence[Tried], greeting: str) -> list[Finding]:
    """Judge an MX by its replies.

    Args:
        tried: everything that was asked.
        greeting: its first words, which name the program.
    """
    by_recipient = {kind: [one for one in tried if one.recipient is kind] for kind in TriedRecipient}
    return [
        _judge_local_mail(by_recipient[TriedRecipient.POSTMASTER], greeting),
        *_judge_elsewhere(by_recipient, greeting),
    ]


def fix_for(greeting: str, fixes: Mapping[str, str]) -> str:
    """The lines for the program that a greeting names, or for all of them.

    Args:
        greeting: text of the greeting.
        fixes: lines by the name of the program in lower case.
    """
    named = [lines for program, lines in fixes.items() if program in greeting.lower()]
    return "\n".join(named or fixes.values())


def _judge_local_mail(tried: Sequence[Tried], greeting: str) -> Finding:
    accepted = [one for one in tried if one.is_accepted]
    if accepted:
        return ok(ACCEPTS.name, str(accepted[0]))
    if tried and all(one.reply is not None and one.reply.is_permanent for one in tried):
        fixes = {
            "exim": "exim: domainlist local_domains = @ : LOCAL_DOMAIN",
            "postfix": "main.cf: mydestination = LOCAL_DOMAIN",
        }
        local = tried[0].address.partition("@")[2]
        return problem(ACCEPTS.name, str(tried[0]), fix_for(greeting, fixes).replace("LOCAL_DOMAIN", local))
    return not_checked(ACCEPTS.name, str(tried[0]) if tried else "nothing was tried")


def _judge_elsewhere(tried: Mapping[TriedRecipient, Sequence[Tried]], greeting: str) -> list[Finding]:
    elsewhere = [one for kind in ELSEWHERE for one in tried[kind]]
    takes_anybody = not all(one.is_refused for one in tried[TriedRecipient.NOBODY])
    taken = [one for one in elsewhere if one.is_accepted]
    relayed = [one for one in taken if one.recipient in UNMISTAKABLE or not takes_anybody]
    unclear = [one for one in taken if one not in relayed]
    unknown = [one for one in elsewhere if not one.is_accepted and not one.is_refused]
    findings = []
    if relayed:
        findings.append(problem(OPEN_RELAY.name, f"accepted: {_counted(relayed)}", fix_for(greeting, _FIXES)))
    if unclear:
        seen = f"accepted, as any local part seems to be: {_counted(unclear)}"
        why = "whether the MX obeys the address within the address cannot be seen from outside; if it does, it relays"
        findings.append(warning(OPEN_RELAY.name, seen, fix_for(greeting, _FIXES), why))
    if unknown:
        findings.append(not_checked(OPEN_RELAY.name, f"no clear answer: {_counted(unknown)}", _other_domain(unknown)))
    if findings:
        return findings
    if not any(one.is_accepted for one in tried[TriedRecipient.POSTMASTER]):
        return [not_checked(OPEN_RELAY.name, "everything is refused, mail for a local domain too: that shows nothing")]
    return [ok(OPEN_RELAY.name, f"{len(elsewhere)} attempts to relay were refused, such as {elsewhere[0]}")]


def _counted(tried: Sequence[Tried]) -> str:
    kinds = dict.fromkeys(one.recipient.words for one in tried)
    return f"{', '.join(kinds)}; {len(tried)} in all, such as {tried[0]}"


def _other_domain(tried: Iterable[Tried]) -> str:
    """A foreign domain that takes no mail hides what would be done with one that does."""
    if any(one.reply is not None and one.reply.is_permanent for one in tried):
        return 'onionmx.toml: [doctor] foreign_domain = "A DOMAIN THAT IS NOT YOURS AND TAKES MAIL"'
    return ""
