"""The inbound guard."""

from typing import Annotated

from msgspec import Meta

from onionmx.config.address import OWNER, check_listen
from onionmx.config.section import Section

_UNLIMITED = " 0 for no limit."


class GuardSection(Section, frozen=True):
    """The inbound guard: limits for each circuit by which clients of the onion service come."""

    listen: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="Where MTAs ask by Postfix's policy protocol: IP:PORT, or unix:/path."),
    ] = ("127.0.0.1:10031",)
    metrics_listen: Annotated[
        str, Meta(description="Where /metrics is, by HTTP: IP:PORT, or unix:/path; empty for none.")
    ] = ""
    unix_mode: Annotated[
        str, Meta(pattern="^0?[0-7]{3}$", description="Mode of unix sockets, in octal: those who may connect may ask.")
    ] = "0660"
    unix_owner: Annotated[str, OWNER] = ""
    connections_per_minute: Annotated[
        int, Meta(ge=0, description="Connections that one circuit may begin in a minute." + _UNLIMITED)
    ] = 60
    refused_recipients_per_minute: Annotated[
        int,
        Meta(ge=0, description="Recipients in a minute that the MTA may refuse to one circuit." + _UNLIMITED),
    ] = 30
    bytes_per_hour: Annotated[
        int,
        Meta(
            ge=0,
            description="Bytes of messages that one circuit may bring in an hour; the message that exceeds it is "
            "taken, and what follows is refused." + _UNLIMITED,
        ),
    ] = 1073741824
    errors_per_minute: Annotated[
        int,
        Meta(ge=0, description="Sessions of one circuit in a minute that may end in an error (Exim)." + _UNLIMITED),
    ] = 30
    close_after: Annotated[
        int,
        Meta(
            ge=1,
            description="Refusals after which tor is told to close the circuit: a client that heeds 421 comes back "
            "later, and does not get there.",
        ),
    ] = 3
    max_circuits: Annotated[
        int, Meta(ge=1, le=1000000, description="Circuits that are remembered; the one silent longest gives way.")
    ] = 10000
    max_connections: Annotated[
        int, Meta(ge=1, description="Connections of MTAs at the same time; for more, idle ones are closed.")
    ] = 1000

    def __post_init__(self) -> None:
        """Refuse what is not an address."""
        for text in (*self.listen, *filter(None, (self.metrics_listen,))):
            check_listen(text)
