"""What the relay answers when an onion MX cannot be brought to take a message: the table of the design."""

import logging

from onionmx.authenticate.proof.stream import NotProvenError
from onionmx.errors import OnionmxError
from onionmx.isolation import UnforeseenError
from onionmx.relay.sessions.together import StillOpeningError
from onionmx.relay.sessions.tor_state import is_of_tor
from onionmx.smtp.codes import Code
from onionmx.smtp.faults import Obstacle, OpeningError, StreamError
from onionmx.smtp.reply import FROM_PEER, OurReply, Reply
from onionmx.status.model import FailureKind
from onionmx.tor.socks import Cause, SocksError

_CLOSING = 421
_PERMANENT = {Cause.BAD_ADDRESS}
_AUTHORIZATION = {Cause.AUTHORIZATION_MISSING, Cause.AUTHORIZATION_WRONG}
_KINDS = {
    Cause.TIMEOUT: FailureKind.UNREACHABLE,
    Cause.GENERAL: FailureKind.UNREACHABLE,
    Cause.HOST_UNREACHABLE: FailureKind.UNREACHABLE,
    Cause.TTL_EXPIRED: FailureKind.UNREACHABLE,
    Cause.REFUSED: FailureKind.REFUSED,
    Cause.DESCRIPTOR_NOT_FOUND: FailureKind.NOT_PUBLISHED,
    Cause.DESCRIPTOR_INVALID: FailureKind.NOT_PUBLISHED,
    Cause.INTRODUCTION_FAILED: FailureKind.UNREACHABLE,
    Cause.RENDEZVOUS_FAILED: FailureKind.UNREACHABLE,
    Cause.INTRODUCTION_TIMEOUT: FailureKind.UNREACHABLE,
    Cause.AUTHORIZATION_MISSING: FailureKind.AUTHORIZATION,
    Cause.AUTHORIZATION_WRONG: FailureKind.AUTHORIZATION,
    Cause.BAD_ADDRESS: FailureKind.BAD_ADDRESS,
}
"""Of the causes that say something about the onion MX; see `is_of_target`."""


def kind_of(error: OnionmxError) -> FailureKind:
    """Why no session came about, as one of a few words."""
    match error:
        case NotProvenError():
            return FailureKind.NOT_PROVEN
        case SocksError():
            return _KINDS.get(error.cause, FailureKind.OTHER)
        case OpeningError():
            return FailureKind.NO_SESSION
        case StreamError():
            return FailureKind.BROKE_OFF
        case _:
            return FailureKind.OTHER


def reply_to(error: OnionmxError) -> Reply:
    """The reply for the MTA when no session came about."""
    match error:
        case UnforeseenError():
            return OurReply.INTERNAL.value
        case OpeningError():
            return for_mta(error.answer)
        case NotProvenError():
            return OurReply.NOT_PROVEN.value.with_text(str(error))
        case SocksError():
            return _of_tor(error)
        case StillOpeningError():
            return OurReply.UNREACHABLE.value.with_text(str(error))
        case _:
            return OurReply.CONNECTION_LOST.value.with_text(str(error))


def _of_tor(error: SocksError) -> Reply:
    if error.cause in _PERMANENT:
        return OurReply.BAD_ONION.value.with_text(str(error))
    if error.cause in _AUTHORIZATION:
        return OurReply.ONION_AUTHORIZATION.value.with_text(str(error))
    return OurReply.UNREACHABLE.value.with_text(str(error))


def for_mta(reply: Reply, *, may_start_tls: bool = False) -> Reply:
    """The reply of an onion MX as the MTA may hear it.

    A 421 says that the speaker closes the connection (RFC 5321 section 3.8), which the relay does not: it becomes
    the 451 of a lost connection. A 530 for one of several recipients becomes one that asks for TLS.

    Args:
        may_start_tls: it offers a TLS that was not started, so that the same recipient alone would be delivered.
    """
    if reply.is_positive:
        return reply
    text = f"{FROM_PEER}{reply.code} {reply.enhanced} {reply.text.removeprefix(FROM_PEER)}"
    if reply.code == _CLOSING:
        return OurReply.CONNECTION_LOST.value.with_text(text)
    if reply.code == Code.TLS_DEMANDED and may_start_tls:
        return OurReply.TLS_REQUIRED.value.with_text(text)
    return reply


def is_of_target(error: OnionmxError) -> bool:
    """Whether the failure says something about the onion MX for everybody.

    Without tor, nothing is known about it, and what the policy of one domain does not accept may do for another; where
    another message finds it out, that one tells.
    """
    if isinstance(error, NotProvenError | UnforeseenError | StillOpeningError):
        return False
    return not is_of_tor(error)


def has_answered(error: BaseException | None) -> bool:
    """Whether the onion MX is up, and no session came about for what it has said, or did not offer."""
    return isinstance(error, OpeningError) and (
        error.reply is not None or error.own is not OurReply.CONNECTION_LOST or error.obstacle is not Obstacle.OTHER
    )


def is_of_authorization(error: BaseException | None) -> bool:
    """Whether tor lacks the key of the onion service: by that it is not known whether it is up."""
    return isinstance(error, SocksError) and error.cause in _AUTHORIZATION


def level_of(error: OnionmxError) -> int:
    """How loud the log tells of it for each message.

    Waiting does not help where somebody has to change the configuration of tor. That tor itself does not answer is told
    once for all messages (`sessions.tor_state`).
    """
    if is_of_tor(error):
        return logging.DEBUG
    return logging.ERROR if is_of_authorization(error) else logging.WARNING
