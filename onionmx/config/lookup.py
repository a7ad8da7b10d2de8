"""Looking up routes, and the daemon that answers MTAs."""

import os
from pathlib import Path
from string import Formatter
from typing import Annotated

import msgspec
from msgspec import Meta

from onionmx.config.address import OWNER, check_listen, check_names
from onionmx.config.section import Section, state_directory
from onionmx.config.store import parse_store

CACHE_NAME = "cache"
MEMORY_NAME = "live.sqlite"
CONTROL_NAME = "serve.sock"
RESULT_PLACEHOLDERS = frozenset({"domain", "onion", "port"})


def _cache_path() -> str:
    """In the folder that systemd has made for the service (StateDirectory=), or beside the map."""
    return str(Path(os.environ.get("STATE_DIRECTORY") or state_directory()) / CACHE_NAME)


def _control_path() -> str:
    """In the folder that systemd has made for the service (RuntimeDirectory=onionmx), which is root's default too."""
    folder = os.environ.get("RUNTIME_DIRECTORY") or ("/run/onionmx" if os.geteuid() == 0 else state_directory())
    return str(Path(folder) / CONTROL_NAME)


def check_result(text: str) -> None:
    """Refuse a result template that cannot be filled in, or that no lookup table could carry.

    Raises:
        ValueError: unknown placeholders, or characters that are not printable ASCII.
    """
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"serve.result: {text!r}: expected printable ASCII characters")
    try:
        fields = [field for _, *field in Formatter().parse(text) if field[0] is not None]
    except ValueError as error:
        raise ValueError(f"serve.result: {text!r}: {error}") from error
    for name, specification, conversion in fields:
        if name not in RESULT_PLACEHOLDERS or specification or conversion:
            raise ValueError(
                f"serve.result: {text!r} has an unknown placeholder: {{domain}}, {{onion}}, {{port}} exist"
            )


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
    max_stale_seconds: Annotated[
        float,
        Meta(ge=0, description="Seconds for which a route stays in use after its time while DNS does not answer."),
    ] = 604800.0

    memory: Annotated[
        str,
        Meta(
            description="What live lookups remember of domains, so that unsigned changes wait as those of sync do: a "
            "file, or the server that `sync.store` names, for one memory with the syncs of all hosts (that server's "
            "password and CAs are those of sync). Empty for `live.sqlite` in the folder that systemd makes for the "
            "service (StateDirectory=), or beside the map."
        ),
    ] = ""
    memory_size: Annotated[
        int,
        Meta(
            ge=1000,
            le=10000000,
            description="Domains in a memory that is a file, which takes at most 4096 bytes for each of them.",
        ),
    ] = 100000

    def __post_init__(self) -> None:
        """Refuse limits that leave no time between them, and a memory that cannot be."""
        if self.memory:
            parse_store(self.memory, "lookup.memory")
        if self.min_ttl > self.max_ttl:
            raise ValueError(f"lookup.min_ttl is {self.min_ttl:g}, above lookup.max_ttl, {self.max_ttl:g}")


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
        tuple[str, ...],
        Meta(
            description="Where the status page, /metrics, /healthz, /domains and /routes/DOMAIN are, by HTTP. The page "
            "shows domains and onions on a unix:/path alone."
        ),
    ] = ("127.0.0.1:10030",)
    http_names: Annotated[
        tuple[str, ...],
        Meta(
            description="Names in DNS by which Prometheus and others ask for them; this machine's own name need not be "
            "here."
        ),
    ] = ()
    control: Annotated[
        str,
        Meta(min_length=1, description="Path of the unix socket through which `onionmx cache` speaks to the daemon."),
    ] = msgspec.field(default_factory=_control_path)
    cache_path: Annotated[str, Meta(description="File in which the cache survives a restart; empty for none.")] = (
        msgspec.field(default_factory=_cache_path)
    )
    unix_mode: Annotated[
        str, Meta(pattern="^0?[0-7]{3}$", description="Mode of unix sockets, in octal: those who may connect may ask.")
    ] = "0660"
    unix_owner: Annotated[str, OWNER] = ""
    result: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=1000,
            description="What Postfix is told of a domain with a route: a transport of its own, see docs/postfix.md; "
            "`smtp` and `relay` obey smtp_fallback_relay, which leads over the open internet. {domain}, {onion} and "
            "{port} are filled in, the latter two from the first target.",
        ),
    ] = "onion:inet:127.0.0.1:10026"
    max_connections: Annotated[
        int, Meta(ge=1, description="Connections of MTAs at the same time; for more, idle ones are closed.")
    ] = 1000
    timeout: Annotated[
        float,
        Meta(gt=0, le=100, description="Seconds for one answer; below the 100 for which Postfix waits."),
    ] = 30.0

    def __post_init__(self) -> None:
        """Refuse what is not an address, and a result that cannot be filled in."""
        check_result(self.result)
        for text in (*self.socketmap_listen, *self.tcp_table_listen, *self.readsocket_listen, *self.http_listen):
            check_listen(text)
        check_names("serve.http_names", self.http_names)
