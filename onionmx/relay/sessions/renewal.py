"""Which failures are those of a session and not of the message: on a new session it may be taken."""

from onionmx.relay.sessions.member import Lease
from onionmx.smtp.client.outcome import Ending, Outcome

_CLOSING = 421
_TOO_MANY = 452
_OF_THE_HOST = ("4.2.", "4.3.")
"""Enhanced codes with which 452 speaks of a full disk or mailbox (RFC 3463 sections 3.3, 3.4): no session helps."""


def has_ended(outcome: Outcome, lease: Lease) -> bool:
    """Whether the peer ended a session that had served before, instead of judging the message.

    It says 421 to the first command (RFC 5321 section 3.8), or 452 to any further message once it has had as many as it
    takes in a session, and not because a disk or a mailbox is full. It has taken nothing, so another try makes no copy.
    """
    if not (lease.reused or lease.was_idle) or any(map(outcome.is_delivered_to, range(len(outcome.recipients)))):
        return False
    if outcome.ending is Ending.CLOSED:
        return outcome.final is None and (outcome.mail is None or outcome.mail.code == _CLOSING)
    return outcome.ending is Ending.ANSWERED and any(
        reply is not None and reply.code == _TOO_MANY and not reply.enhanced.startswith(_OF_THE_HOST)
        for reply in (outcome.mail, outcome.final)
    )


def left_undecided(outcome: Outcome, lease: Lease) -> list[int]:
    """The places of the recipients about whom the peer did not decide as it ended a session that had served before.

    Servers end a session (421) after so many refused recipients, those of the messages before included. That says
    nothing of this message, and nothing of it was taken. Where no recipient was refused or left without an answer, the
    421 is to the content, and the peer's word.
    """
    said = [reply for reply in (*outcome.recipients, outcome.final) if reply is not None]
    has_closed = outcome.ending is Ending.CLOSED or (
        outcome.ending is Ending.ANSWERED and any(reply.code == _CLOSING for reply in said)
    )
    if not has_closed or not (lease.reused or lease.was_idle):
        return []
    if outcome.final is not None and outcome.final.code != _CLOSING:
        return []
    if all(reply is not None and reply.is_positive for reply in outcome.recipients):
        return []
    return [
        place
        for place, reply in enumerate(outcome.recipients)
        if reply is None or reply.is_positive or reply.code == _CLOSING
    ]


def was_stale(outcome: Outcome, lease: Lease) -> bool:
    """Whether the peer had closed the session before the message could reach it.

    Not a byte of a reply has come: a peer that began to answer has read something.
    """
    silent = outcome.mail is None and not any(outcome.recipients) and outcome.final is None
    return lease.was_idle and silent and outcome.ending is Ending.LOST and not lease.session.broke_off_in_a_reply
