"""What is remembered of tries at onion MXes, and told to others."""

from random import Random

import pytest

from onionmx.relay.destinations import Destinations
from onionmx.relay.record import DeliveryRecord
from onionmx.relay.sessions.backoff import Backoff
from onionmx.smtp.faults import OpeningError
from tests.mapfile.maps import A

TARGET = (A, 25)


@pytest.mark.parametrize("opens", [False, True])
def test_why_it_fails_names_no_recipient_to_others(*, opens: bool) -> None:
    destinations = Destinations(Backoff(Random(1)), DeliveryRecord())
    for _ in range(3):
        why = "not an SMTP reply: b'alice@example.org is away'"
        if opens:
            destinations.broke_off(TARGET, "example.org", why)
        else:
            destinations.failed(TARGET, "example.org", OpeningError(why))
    (failing,) = destinations.record.failing()
    assert failing.reason == "not an SMTP reply: ...@example.org is away'"
    assert "...@example.org is away'" in (destinations.refusal(TARGET) or "")
