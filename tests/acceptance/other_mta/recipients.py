"""One message to four recipients: taken, refused, deferred, and at another onion."""

import re
from collections import Counter

from tests.acceptance.leaks import flush_until, no_clearnet, wait_for_outcome
from tests.acceptance.machine import MachineError
from tests.acceptance.mta import BOUNCED, DEFERRED, SENT
from tests.acceptance.site import DELIVERY, Site
from tests.acceptance.world import REMOTE
from tests.e2e.daemon import wait_until

from .known import OTHERS
from .refusing import DOMAIN, LATER, REASON, REFUSED, TAKEN, RefusingMx

_FAILED = re.compile(
    r"^Final-Recipient: *rfc822; *<?([^\s>]+)>?\s*\n(?:\S.*\n)*?Action: *failed", re.IGNORECASE | re.MULTILINE
)
"""Of a recipient in a delivery status notification (RFC 3464)."""


def four_recipients(site: Site, mx: RefusingMx) -> None:
    """Each gets its own answer; nothing is lost, nothing comes twice, and the sender is told of the one refused."""
    print("--- four recipients", flush=True)
    try:
        _deliver(site, mx)
    except Exception:
        print(f"--- log of {DOMAIN}\n{mx.log_text()}", flush=True)
        raise


def _deliver(site: Site, mx: RefusingMx) -> None:
    subject = site.subject("four")
    elsewhere = f"{subject.replace(' ', '-')}@{REMOTE}"
    asked = len(site.world.dns.questions())
    site.mta.submit(site.machine, subject, TAKEN, REFUSED, LATER, elsewhere)
    # By SMTP the relay takes one destination for each transaction; what it sends back with 452 is tried again.
    _ends(site, TAKEN, SENT)
    _ends(site, REFUSED, BOUNCED)
    _ends(site, elsewhere, SENT)
    if set(outcomes := wait_for_outcome(site, LATER)) != {DEFERRED}:
        raise MachineError(f"{LATER} has to wait: {outcomes}")
    flush_until(site, lambda: REASON in site.machine.read(site.mta.log), f"{REASON!r} in the log")
    if OTHERS[site.mta.name].tells_at_once:
        _sender_is_told(site)
    mx.open()
    _ends(site, LATER, SENT)
    _sender_is_told(site)
    wait_until(lambda: not site.machine.read(site.mta.waiting).strip(), "an empty queue", DELIVERY)
    for recipient, expected in {TAKEN: SENT, REFUSED: BOUNCED, LATER: SENT, elsewhere: SENT}.items():
        outcomes = site.mta.outcomes(site.machine, recipient)
        if [outcome for outcome in outcomes if outcome != DEFERRED] != [expected]:
            raise MachineError(f"{recipient} ends otherwise than {expected}, once: {outcomes}")
    if (told := _told_of(site)) != [REFUSED]:
        raise MachineError(f"the sender is told of {told}, not of {REFUSED} once")
    if (counts := mx.received(subject)) != Counter({TAKEN: 1, LATER: 1}):
        raise MachineError(f"not once to each: {counts}")
    if site.world.copies(subject) != 1:
        raise MachineError(f"{elsewhere} has got {site.world.copies(subject)} copies")
    no_clearnet(site, asked, DOMAIN, REMOTE)
    site.no_leak()


def _told_of(site: Site) -> list[str]:
    """The recipients that did not get it, as the sender is told."""
    return _FAILED.findall(site.machine.read(site.mta.mailbox))


def _sender_is_told(site: Site) -> None:
    wait_until(lambda: REFUSED in _told_of(site), f"the sender is told of {REFUSED}", DELIVERY)


def _ends(site: Site, recipient: str, outcome: str) -> None:
    """Wait until it has come to this with a recipient."""
    flush_until(site, lambda: outcome in site.mta.outcomes(site.machine, recipient), f"{recipient}: {outcome}")
