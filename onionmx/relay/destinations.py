"""What becomes of tries at onion MXes: those that keep failing are left alone, and what fails is remembered."""

from onionmx.authenticate.proof.stream import NotProvenError
from onionmx.domain import Domain
from onionmx.errors import OnionmxError
from onionmx.log.fields import without_addresses
from onionmx.onion import Endpoint
from onionmx.relay.failures import is_of_target, kind_of
from onionmx.relay.record import DeliveryRecord, Failure
from onionmx.relay.sessions.backoff import Backoff
from onionmx.status.model import FailureKind


class Destinations:
    """Hears how tries end, and says which are to be left alone.

    Args:
        backoff: leaves alone what keeps failing.
        record: remembers what fails, and counts.
    """

    def __init__(self, backoff: Backoff, record: DeliveryRecord) -> None:
        self._backoff = backoff
        self.record = record

    def is_failing(self, target: Endpoint) -> bool:
        """See `Backoff`."""
        return self._backoff.is_failing(target)

    def refusal(self, target: Endpoint) -> str | None:
        """See `Backoff`."""
        return self._backoff.refusal(target)

    def failed(self, target: Endpoint, domain: Domain, error: OnionmxError) -> None:
        """No session came about; only what says something about the onion MX counts."""
        if is_of_target(error):
            self._failed(target, domain, kind_of(error), str(error), error)
        elif isinstance(error, NotProvenError):
            self.record.failed(target, domain, Failure(kind_of(error), str(error)))

    def broke_off(self, target: Endpoint, domain: Domain, why: str) -> None:
        """A session ended before its peer had decided on the message."""
        self._failed(target, domain, FailureKind.BROKE_OFF, why)

    def succeeded(self, target: Endpoint, domain: Domain) -> None:
        """The target has answered, whatever it said."""
        self._backoff.succeeded(target)
        self.record.succeeded(target, domain)

    def _failed(
        self, target: Endpoint, domain: Domain, kind: FailureKind, why: str, error: OnionmxError | None = None
    ) -> None:
        why = without_addresses(why)  # others than the one whose message it was hear of it
        is_counted = self._backoff.failed(target, why, error)
        self.record.failed(target, domain, Failure(kind, why, is_counted, self._backoff.pause(target)))
