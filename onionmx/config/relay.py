"""The relay."""

import socket
from ipaddress import ip_network
from typing import Annotated, Literal

from msgspec import Meta

from onionmx.config.address import check_listen
from onionmx.config.section import Section
from onionmx.onion import parse_onion

_WIDEST = {4: 8, 6: 16}
"""Shortest prefix of a network of clients, by IP version: 10.0.0.0/8 and 127.0.0.0/8 are the widest that are anybody's
own, and no allocation to a network is wider than an IPv6 /16."""


class RelaySection(Section, frozen=True):
    """The relay for MTAs that cannot speak to Tor."""

    smtp_listen: Annotated[
        tuple[str, ...],
        Meta(
            description="Where SMTP is spoken: IP:PORT, or unix:/path; only loopback unless asked. For every MTA but "
            "Postfix, Exim and Sendmail."
        ),
    ] = ("127.0.0.1:10025",)
    lmtp_listen: Annotated[
        tuple[str, ...],
        Meta(
            description="Where LMTP is spoken, which tells the MTA the result for each recipient. For Postfix, Exim "
            "and Sendmail; others misread it."
        ),
    ] = ("127.0.0.1:10026",)
    unix_mode: Annotated[
        str, Meta(pattern="^0?[0-7]{3}$", description="Mode of unix sockets, in octal; who may connect may send.")
    ] = "0660"
    clients: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks whose hosts may connect over TCP, and send to any onion MX; /8 at most for IPv4, /16 "
            "for IPv6, never the world."
        ),
    ] = ("127.0.0.0/8", "::1/128")
    max_connections: Annotated[
        int, Meta(ge=1, description="Sessions with MTAs at the same time; when there are more, idle ones are closed.")
    ] = 1000
    hostname: Annotated[
        str, Meta(description="Name for EHLO and Received, fully qualified; empty for the name of this machine.")
    ] = ""
    unrouted: Annotated[
        Literal["defer", "reject"], Meta(description="What to say of a domain without a route: defer 451, reject 550.")
    ] = "defer"
    bare_newline: Annotated[
        Literal["reject", "normalize"],
        Meta(description="A CR or LF that is not part of CRLF: reject the message, or make CRLF of each."),
    ] = "reject"
    tls: Annotated[
        Literal["never", "opportunistic", "require"],
        Meta(description="STARTTLS with the onion MX. The onion encrypts and authenticates already."),
    ] = "never"
    message_size_limit: Annotated[int, Meta(ge=1024, description="Bytes of a message, announced as SIZE.")] = 104857600
    keep_limit: Annotated[
        int,
        Meta(
            ge=0,
            description="Bytes up to which a message is kept until the final reply, for another try elsewhere.",
        ),
    ] = 1048576
    deadline: Annotated[
        float,
        Meta(gt=0, description="Seconds for the delivery of a message, all targets together; below Postfix's 600."),
    ] = 540.0
    sessions_per_onion: Annotated[
        int, Meta(ge=1, le=1000, description="Sessions that are open to one onion MX at the same time.")
    ] = 10
    messages_per_session: Annotated[
        int,
        Meta(
            ge=1,
            description="Messages after which a session is closed, where the onion MX announces no MAILMAX (RFC 9422), "
            "or is an Exim, which by default delivers only the first 10 of a connection at once.",
        ),
    ] = 10
    messages_per_session_of: Annotated[
        dict[str, Annotated[int, Meta(ge=1)]],
        Meta(description="The same for single onion MXes whose limit is known: ONION = NUMBER."),
    ] = {}  # noqa: RUF012 -- msgspec makes a new one for each
    transactions_in_flight: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="Messages on the way at once on a session, when no further one may be opened.",
        ),
    ] = 10
    idle_timeout: Annotated[
        float, Meta(gt=0, description="Seconds that an unused session stays open for the next message.")
    ] = 60.0
    max_received: Annotated[
        int, Meta(ge=1, description="Received headers from which on a message is taken for one that goes in a circle.")
    ] = 50
    workers: Annotated[int, Meta(ge=1, le=64, description="Processes that share the sockets.")] = 1
    metrics_listen: Annotated[
        str,
        Meta(
            description="Where Prometheus asks: IP:PORT, each further worker one port higher, or unix:/path with "
            "relay.unix_mode, each further worker with .1, .2, ... behind it; empty for none."
        ),
    ] = ""
    log_addresses: Annotated[bool, Meta(description="Write senders and recipients to the log.")] = False
    grace: Annotated[float, Meta(ge=0, description="Seconds for what is in flight when the relay is stopped.")] = 60.0

    @property
    def ehlo_name(self) -> str:
        """The name for EHLO and Received."""
        return self.hostname or socket.getfqdn()

    def __post_init__(self) -> None:
        """Refuse what is not an address or a network."""
        for text in (*self.smtp_listen, *self.lmtp_listen, *filter(None, (self.metrics_listen,))):
            check_listen(text)
        for text in self.clients:
            _check_client(text)
        for onion in self.messages_per_session_of:
            parse_onion(onion)


def _check_client(text: str) -> None:
    network = ip_network(text)
    widest = _WIDEST[network.version]
    if network.prefixlen < widest:
        raise ValueError(
            f"relay.clients: {text} is too wide: whose hosts may send through the relay, /{widest} at most for "
            f"IPv{network.version}"
        )
