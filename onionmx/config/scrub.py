"""Names of header fields that onion mail may be sent without."""

import re
from collections.abc import Iterable

_NAME = re.compile(r"[!-9;-~]+")
"""RFC 5322 section 3.6.8."""
_PART_OF_MAIL = "the message cannot be read, answered or shown as it was written without it"
_SIGNATURE = "it is a signature, or belongs to one"
_STOPS_LOOPS = "mail loops and answers to answers are found by it"
_KEPT = {
    "from sender reply-to to cc date subject message-id in-reply-to references mime-version": _PART_OF_MAIL,
    "domainkey-signature x-google-dkim-signature": _SIGNATURE,
    "delivered-to auto-submitted precedence list-id x-loop x-beenthere": _STOPS_LOOPS,
}
_REASONS = {name: reason for names, reason in _KEPT.items() for name in names.split()}
_FAMILIES = {"content-": _PART_OF_MAIL, "resent-": _PART_OF_MAIL, "arc-": _SIGNATURE, "dkim": _SIGNATURE}


def check_scrubbed(names: Iterable[str]) -> None:
    """Refuse what is not the name of a header field, and fields that a message needs.

    Raises:
        ValueError: one of them is.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"relay.scrub: {name!r} is not the name of a header field, such as User-Agent")
        reason = _REASONS.get(name.lower()) or next(
            (why for family, why in _FAMILIES.items() if name.lower().startswith(family)), None
        )
        if reason:
            raise ValueError(f"relay.scrub: {name} stays in the message: {reason}")
