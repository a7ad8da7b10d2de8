"""Looking up routes, and the daemon that answers MTAs."""

from typing import Annotated

import msgspec
from msgspec import Meta

from onionmx.config.address import check_listen
from onionmx.config.section import Section, state_directory

CACHE_NAME = "cache"
CONTROL_NAME = "serve.sock"


class LookupSection(Section, frozen=True):
    """How the relay and `onionmx serve` find the route of a domain."""

    live: Annotated[bool, Meta(description="Ask DNS for domains that neither pins nor map have.")] = False
    cache_size: Annotated[
        int, Meta(ge=1, description="Domains whose answers are kept; those not asked for longest give way.")
    ] = 100000
    min_ttl: Annotated[
        float, Meta(ge=0, le=86400, description="Seconds that an answer is kept at least, whatever its TTL.")
    ] = 5.0
    max_ttl: Annotated[float, Meta(gt=0, description="Seconds that an answer is kept at most, whatever its TTL.")] = (
        86400.0
    )
    max_stale: Annotated[
        float,
        Meta(ge=0, description="Seconds for which a route stays in use after its time while DNS does not answer."),
    ] = 604800.0


class ServeSection(Section, frozen=True):
    """The lookup daemon."""

    socketmap_listen: Annotated[
        tuple[str, ...], Meta(description="Where Postfix's socketmap is answered: IP:PORT, or unix:/path.")
    ] = ("127.0.0.1:10027",)
    tcp_table_listen: Annotated[tuple[str, ...], Meta(description="Where Postfix's tcp_table is answered.")] = (
        "127.0.0.1:10028",
    )
    readsocket_listen: Annotated[tuple[str, ...], Meta(description="Where Exim's readsocket is answered.")] = (
        "127.0.0.1:10029",
    )
    http_listen: Annotated[
        tuple[str, ...], Meta(description="Where /metrics, /healthz and /routes/DOMAIN are, by HTTP.")
    ] = ("127.0.0.1:10030",)
    control: Annotated[
        str,
        Meta(min_length=1, description="Path of the unix socket through which `onionmx cache` speaks to the daemon."),
    ] = msgspec.field(default_factory=lambda: str(state_directory() / CONTROL_NAME))
    cache_path: Annotated[str, Meta(description="File in which the cache survives a restart; empty for none.")] = (
        msgspec.field(default_factory=lambda: str(state_directory() / CACHE_NAME))
    )
    unix_mode: Annotated[
        str, Meta(pattern="^0?[0-7]{3}$", description="Mode of unix sockets, in octal; who may connect may ask.")
    ] = "0660"
    unix_owner: Annotated[
        str,
        Meta(
            pattern="^[a-z0-9_-]*(:[a-z0-9_-]+)?$",
            description="Owner of unix sockets as USER, USER:GROUP or :GROUP; empty for the daemon's own.",
        ),
    ] = ""
    result: Annotated[
        str,
        Meta(
            min_length=1,
            description="What Postfix is told of a domain with a route. {domain}, {onion} and {port} are filled in, "
            "the latter two from the first target.",
        ),
    ] = "smtp:[127.0.0.1]:10025"
    max_connections: Annotated[int, Meta(ge=1, description="Connections of MTAs at the same time.")] = 1000
    timeout: Annotated[
        float,
        Meta(gt=0, le=100, description="Seconds for one answer; below the 100 for which Postfix waits."),
    ] = 30.0

    def __post_init__(self) -> None:
        """Refuse what is not an address."""
        for text in (*self.socketmap_listen, *self.tcp_table_listen, *self.readsocket_listen, *self.http_listen):
            check_listen(text)
