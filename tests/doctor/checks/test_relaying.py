"""Whether an MTA relays, judged from replies."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.doctor.checks.relaying import Tried, TriedRecipient, fix_for, judge_relaying
from onionmx.doctor.finding import Finding, Severity
from onionmx.smtp.reply import Reply
from onionmx.smtp.reply_parser import ReplyParser

REFUSED = Reply(550, "", ("relay not permitted",))
ACCEPTED = Reply(250, "", ("OK",))
UNKNOWN_USER = Reply(550, "5.1.1", ("unknown user",))
STRANGE = [TriedRecipient.PERCENT, TriedRecipient.QUOTED, TriedRecipient.BANG]
SOUND = dict.fromkeys(TriedRecipient, REFUSED) | {
    TriedRecipient.NOBODY: UNKNOWN_USER,
    TriedRecipient.POSTMASTER: ACCEPTED,
}


def judge(replies: Mapping[TriedRecipient, Reply | None], greeting: str = "mx ESMTP") -> list[Finding]:
    tried = [
        Tried(sender, kind, kind.address("example.org", "example.net", "nobody"), reply, "" if reply else "gone")
        for sender in ("", "postmaster@example.net")
        for kind, reply in replies.items()
    ]
    return [finding for finding in judge_relaying(tried, greeting) if finding.check == "open-relay"]


def severities(replies: Mapping[TriedRecipient, Reply | None]) -> list[Severity]:
    return [finding.severity for finding in judge(replies)]


def test_sound() -> None:
    assert severities(SOUND) == [Severity.OK]


@pytest.mark.parametrize("kind", [TriedRecipient.PLAIN, TriedRecipient.ROUTE])
@pytest.mark.parametrize("nobody", [UNKNOWN_USER, ACCEPTED])
def test_plain_and_source_route_cannot_be_a_mailbox_here(kind: TriedRecipient, nobody: Reply) -> None:
    (finding,) = judge(SOUND | {kind: ACCEPTED, TriedRecipient.NOBODY: nobody})
    assert finding.severity is Severity.PROBLEM
    assert kind.words in finding.seen
    assert kind.address("example.org", "example.net", "nobody") in finding.seen


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_local_part_is_relayed_where_made_up_ones_are_refused(kind: TriedRecipient) -> None:
    assert severities(SOUND | {kind: ACCEPTED}) == [Severity.PROBLEM]


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_local_part_may_be_a_mailbox_where_made_up_ones_are_accepted(kind: TriedRecipient) -> None:
    (finding,) = judge(SOUND | {kind: ACCEPTED, TriedRecipient.NOBODY: ACCEPTED})
    assert finding.severity is Severity.WARNING
    assert "cannot be seen from outside" in finding.why


def test_any_2xx_is_an_acceptance() -> None:
    assert severities(SOUND | {TriedRecipient.PLAIN: Reply(251, "", ("will forward",))}) == [Severity.PROBLEM]


@pytest.mark.parametrize("reply", [Reply(451, "4.7.1", ("later",)), None])
def test_no_clear_answer_is_none(reply: Reply | None) -> None:
    assert severities(SOUND | {TriedRecipient.BANG: reply}) == [Severity.NOT_CHECKED]
    assert severities(SOUND | {TriedRecipient.BANG: reply, TriedRecipient.PLAIN: ACCEPTED}) == [
        Severity.PROBLEM,
        Severity.NOT_CHECKED,
    ]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(556, "5.1.10", ("Domain example.net does not accept mail",)),
        Reply(550, "5.4.4", ("no such host",)),
        Reply(550, "", ("Unrouteable address",)),
        Reply(550, "", ("an MX or SRV record indicated no SMTP service",)),
    ],
)
def test_refusal_of_a_domain_that_takes_no_mail_shows_nothing(reply: Reply) -> None:
    (finding,) = judge(SOUND | {TriedRecipient.PLAIN: reply})
    assert finding.severity is Severity.NOT_CHECKED
    assert "foreign_domain" in finding.fix


def test_refusals_show_nothing_where_local_mail_is_refused_too() -> None:
    assert severities(SOUND | {TriedRecipient.POSTMASTER: REFUSED}) == [Severity.NOT_CHECKED]


def test_what_fixes_it_is_for_the_mta_that_greets() -> None:
    exim, postfix = (
        judge(SOUND | {TriedRecipient.PLAIN: ACCEPTED}, f"mx ESMTP {name}")[0].fix for name in ("Exim 4.96", "Postfix")
    )
    assert "acl_smtp_rcpt" in exim
    assert "acl_smtp_rcpt" not in postfix
    assert "smtpd_relay_restrictions" in postfix
    assert fix_for("mx", {"exim": "a", "postfix": "b"}) == "a\nb"


@given(st.lists(st.binary(max_size=40), min_size=7, max_size=7))
def test_whatever_an_mx_says_is_judged(texts: list[bytes]) -> None:
    """Severity and words for any replies, and no control character among the words."""
    replies: dict[TriedRecipient, Reply | None] = {}
    for kind, text in zip(TriedRecipient, texts, strict=True):
        parser = ReplyParser()
        parser.feed(b"250 " + text.replace(b"\n", b"").replace(b"\r", b"") + b"\r\n")
        replies[kind] = parser.next_reply()
    for finding in judge(replies):
        assert finding.seen.isprintable()
        assert finding.severity in Severity
