"""The mail log: one function for each event, so that a line looks the same wherever it comes from.

It has addresses only where the operator asks for them; `onionmx.log` takes them out of replies. Onions are shortened:
enough to tell them apart.
"""

import logging
from collections.abc import Iterable, Mapping

from onionmx.log import fields
from onionmx.onion import Endpoint
from onionmx.smtp.reply import Reply

_logger = logging.getLogger("onionmx.mail")
_SHORT = 16  # characters of an onion, 80 bits


def shortened(endpoint: Endpoint) -> str:
    """An onion and port for the log."""
    onion, port = endpoint
    return f"{onion[:_SHORT]}...:{port}"


def delivered(
    identifier: str, domain: str, endpoint: Endpoint, reply: Reply, stages: Mapping[str, float | str]
) -> None:
    """An onion MX has answered for one recipient, well or not.

    Args:
        stages: seconds of each stage, and whether the session was new, early or reused.
    """
    described = " ".join(
        f"{stage}={value:.3f}" if isinstance(value, float) else f"{stage}={value}" for stage, value in stages.items()
    )
    level = logging.INFO if reply.is_positive else logging.WARNING
    event = "delivered" if reply.is_positive else "not_delivered"
    to, said = shortened(endpoint), str(reply)
    extra = fields(event, id=identifier, domain=domain, to=to, reply=said, **stages)
    _logger.log(level, "%s: %s to=%s %s reply=%s", identifier, domain, to, described, said, extra=extra)


def refused(identifier: str, domain: str, reply: Reply) -> None:
    """The relay itself has refused or deferred a recipient."""
    said = str(reply)
    extra = fields("refused", id=identifier, domain=domain, reply=said)
    _logger.warning("%s: %s reply=%s", identifier, domain, said, extra=extra)


def target_failed(identifier: str, domain: str, endpoint: Endpoint, why: str, *, level: int = logging.WARNING) -> None:
    """A target could not be used; the next one is tried, if there is one."""
    to = shortened(endpoint)
    extra = fields("target_failed", id=identifier, domain=domain, to=to, reason=why)
    _logger.log(level, "%s: %s to=%s failed: %s", identifier, domain, to, why, extra=extra)


def not_scrubbed(identifier: str, why: str) -> None:
    """A message goes with all its header fields although the operator has named some to be removed."""
    _logger.warning("%s: no header field was removed: %s", identifier, why)


def addresses(identifier: str, sender: str, recipients: Iterable[str]) -> None:
    """Who writes to whom, only where the operator asks for it."""
    # Bytes that are no UTF-8 come as lone surrogates, which no log can hold.
    of, all_of_them = (
        text.encode("utf-8", "backslashreplace").decode("utf-8") for text in (sender, ">,<".join(recipients))
    )
    extra = fields("addresses", id=identifier, sender=f"<{of}>", recipients=f"<{all_of_them}>")
    _logger.info("%s: sender=<%s> recipients=<%s>", identifier, of, all_of_them, extra=extra)


def failed(identifier: str, domain: str, error: BaseException) -> None:
    """The relay itself has failed at a delivery, by a fault of ours."""
    extra = fields("internal_error", id=identifier, domain=domain)
    _logger.error("%s: delivery for %s failed", identifier, domain, exc_info=error, extra=extra)
