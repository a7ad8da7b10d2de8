"""The relay."""

import os
import socket
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from onionmx.config.address import OWNER, check_listen, check_names, parse_address
from onionmx.config.scrub import check_scrubbed
from onionmx.config.section import Section, state_directory
from onionmx.onion import is_for_tor_alone, parse_onion

_PRIVATE = tuple(
    map(
        ip_network,
        (
            "127.0.0.0/8",
            "::1/128",
            "10.0.0.0/8",  # RFC 1918
            "172.16.0.0/12",
            "192.168.0.0/16",
            "fc00::/7",  # RFC 4193
            "169.254.0.0/16",  # link-local: RFC 3927, RFC 4291
            "fe80::/10",
        ),
    )
)
"""Networks that no stranger is in."""


CONTROL_FOLDER = Path("/run/onionmx-relay")
"""That systemd makes for the relay (RuntimeDirectory=)."""
_CONTROL_NAME = "relay.sock"


def _control_path() -> str:
    """The same for the relay, and for root, other services and members of its group, who ask it."""
    is_system = os.geteuid() == 0 or "RUNTIME_DIRECTORY" in os.environ or CONTROL_FOLDER.is_dir()
    return str((CONTROL_FOLDER if is_system else state_directory()) / _CONTROL_NAME)


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
        str, Meta(pattern="^0?[0-7]{3}$", description="Mode of unix sockets, in octal: those who may connect may send.")
    ] = "0660"
    unix_owner: Annotated[str, OWNER] = ""
    clients: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks whose hosts may connect over TCP, and send to any onion MX: loopback, private "
            "networks, single addresses; never the world."
        ),
    ] = ("127.0.0.0/8", "::1/128")
    max_connections: Annotated[
        int, Meta(ge=1, description="Sessions with MTAs at the same time; when there are more, idle ones are closed.")
    ] = 1000
    hostname: Annotated[
        str, Meta(description="Name for EHLO and Received, fully qualified; empty for the name of this machine.")
    ] = ""
    unrouted: Annotated[
        Literal["defer", "reject"],
        Meta(description="What to say of a domain without a route: defer 451, reject 550; not with map.exports."),
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
    early_pipelining: Annotated[
        bool,
        Meta(
            description="Send the first message of a session before the onion MX has announced its extensions again, "
            "where they are remembered; not with TLS, and not for messages above relay.keep_limit."
        ),
    ] = True
    warm: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="Number of onion MXes, those that get most mail, to which each worker opens a session every 8 "
            "minutes, so that tor keeps a circuit to them; 0 for none.",
        ),
    ] = 0
    idle_timeout: Annotated[
        float, Meta(gt=0, description="Seconds that an unused session stays open for the next message.")
    ] = 60.0
    max_received: Annotated[
        int, Meta(ge=1, description="Received headers from which on a message is taken for one in a mail loop.")
    ] = 50
    scrub: Annotated[
        tuple[str, ...],
        Meta(
            description="Names of header fields that messages to onion MXes are sent without, such as "
            "X-Originating-IP; fields that a DKIM or ARC signature covers stay, and so do Received fields of relays "
            "such as this one. Not for fields that a message needs."
        ),
    ] = ()
    workers: Annotated[int, Meta(ge=1, le=64, description="Processes that share the sockets.")] = 1
    metrics_listen: Annotated[
        str,
        Meta(
            description="Where Prometheus asks: IP:PORT, each further worker one port higher, or unix:/path with "
            "relay.unix_mode and relay.unix_owner, each further worker with .1, .2, ... behind it; empty for none."
        ),
    ] = ""
    metrics_names: Annotated[
        tuple[str, ...],
        Meta(description="Names in DNS by which Prometheus asks; this machine's own name need not be here."),
    ] = ()
    control: Annotated[
        str,
        Meta(
            description="Path of the unix socket through which `onionmx status` asks the relay, each further worker "
            "with .1, .2, ... behind it; for root, the relay's own user and the group of its unit. Empty for none."
        ),
    ] = field(default_factory=_control_path)
    log_addresses: Annotated[bool, Meta(description="Write senders and recipients to the log.")] = False
    grace: Annotated[float, Meta(ge=0, description="Seconds for what is in flight when the relay is stopped.")] = 60.0

    @property
    def ehlo_name(self) -> str:
        """The name for EHLO and Received."""
        own = self.hostname or socket.gethostname()
        # getfqdn may ask DNS for the name of this host, which can be an onion's (RFC 7686).
        return own if self.hostname or is_for_tor_alone(own) else socket.getfqdn(own)

    def __post_init__(self) -> None:
        """Refuse what is not an address or a network."""
        for text in (*self.smtp_listen, *self.lmtp_listen, *filter(None, (self.metrics_listen,))):
            check_listen(text)
        check_names("relay.metrics_names", self.metrics_names)
        for text in self.clients:
            _check_client(text)
        for text in (*self.smtp_listen, *self.lmtp_listen):
            _check_reach(text, self.clients)
        check_scrubbed(self.scrub)
        for onion in self.messages_per_session_of:
            parse_onion(onion)


def _check_client(text: str) -> None:
    """Refuse a network of the Internet that is more than a single host."""
    network = ip_network(text)
    is_host = network.prefixlen == network.max_prefixlen and not network.network_address.is_unspecified
    is_private = any(
        network.version == private.version and network.subnet_of(private)  # type: ignore[arg-type]
        for private in _PRIVATE
    )
    if not is_private and not is_host:
        raise ValueError(
            f"relay.clients: {text} is wider than a private network: anyone in it could send through the relay; "
            "expected loopback, RFC 1918 (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16), fc00::/7, link-local, or single "
            "addresses"
        )


def _check_reach(listen: str, clients: Iterable[str]) -> None:
    """Refuse to listen for other hosts where none of them may connect.

    Raises:
        ValueError: no network of clients has more than loopback addresses.
    """
    address = parse_address(listen)
    if isinstance(address, Path) or ip_address(address[0]).is_loopback:
        return
    if all(ip_network(text).is_loopback for text in clients):
        raise ValueError(
            f"relay: {listen} is reached from other hosts, and relay.clients lets none of them in: name their networks "
            "there, or listen on 127.0.0.1"
        )
