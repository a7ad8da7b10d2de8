"""Recipients that may share a transaction, by the limits that an onion MX announces (RFC 9422)."""

from collections.abc import Sequence

from onionmx.smtp.envelope import Recipient
from onionmx.smtp.extensions import Extensions


def portions(recipients: Sequence[Recipient], extensions: Extensions) -> list[list[int]]:
    """The places of the recipients of one transaction each, as few transactions as possible.

    Args:
        recipients: at least one.
        extensions: what the peer announces.
    """
    found: list[list[int]] = []
    domains: list[set[str]] = []
    for place, recipient in enumerate(recipients):
        domain = recipient.address.rpartition("@")[2].lower()
        for portion, those in zip(found, domains, strict=True):
            if _fits(len(portion), extensions.rcpt_max) and (
                domain in those or _fits(len(those), extensions.rcpt_domain_max)
            ):
                portion.append(place)
                those.add(domain)
                break
        else:
            found.append([place])
            domains.append({domain})
    return found


def _fits(count: int, limit: int | None) -> bool:
    return limit is None or count < limit
