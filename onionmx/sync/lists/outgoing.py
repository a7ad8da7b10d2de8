"""How much of the mail that leaves this host could go over onion services."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Remote recipients of the mail in the logs.

    Attributes:
        recipients: all of them; each message counts for each of its recipients.
        with_route: those whose domain has an entry in the map.
    """

    recipients: int
    with_route: int

    @property
    def share(self) -> float:
        """The part of the recipients with a route, from 0 to 1; 0 where there are none."""
        return self.with_route / self.recipients if self.recipients else 0.0

    def __str__(self) -> str:
        if not self.recipients:
            return "no outgoing mail in the logs"
        percent = 100 * self.share
        shown = f"{percent:.0f}" if percent in {0, 100} else f"{min(99.9, max(0.1, percent)):.1f}"
        return (
            f"{shown} % of your outgoing mail could go over onion services "
            f"({self.with_route} of {self.recipients} recipients)"
        )
