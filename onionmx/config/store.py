"""Where sync keeps its state, as `sync.store` writes it: a file of this host, or a server that several hosts share."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from onionmx.config.address import parse_host
from onionmx.onion import parse_port

PLAIN = "valkey"
TLS = "valkeys"
STORE_USERS = ("valkey", "redis")
"""As Debian's packages call the servers' users."""
_DEFAULT_PORT = "6379"
_FORMS = "expected the path of a file, valkey://HOST[:PORT][/DATABASE] or valkeys://HOST[:PORT][/DATABASE]"


@dataclass(frozen=True, slots=True)
class ValkeyAddress:
    """A Valkey or Redis server.

    Attributes:
        host: name or IP address; the name that its certificate must have.
        port: TCP port.
        database: number of the database on it.
        is_tls: whether it is asked over TLS.
        user: name to log in with; empty for the server's default user.
    """

    host: str
    port: int
    database: int = 0
    is_tls: bool = False
    user: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{TLS if self.is_tls else PLAIN}://{host}:{self.port}/{self.database}"


def parse_store(text: str, option: str = "sync.store") -> ValkeyAddress | Path:
    """Read a path, or `valkeys://[USER@]HOST[:PORT][/DATABASE]`; `valkey://` is the same without TLS, on this host.

    Args:
        text: as the configuration has it.
        option: where it is there.

    Raises:
        ValueError: not of these forms, a password in it, or a server elsewhere without TLS.
    """
    scheme, separator, _ = text.partition("://")
    if not separator:
        if not text:
            raise ValueError(f"{option} is empty: {_FORMS}")
        return Path(text)
    if scheme not in {PLAIN, TLS}:
        raise ValueError(f"{option}: {scheme!r} is unknown, Redis has the same protocol as Valkey: {_FORMS}")
    address = _parse_address(text, option)
    try:
        parse_host(address.host.partition("%")[0] if ":" in address.host else address.host)
    except ValueError as error:
        raise ValueError(f"{option}: {error}: expected an IP address or the name of a host") from error
    if not address.is_tls and not _is_loopback(address.host):
        raise ValueError(
            f"{option}: {address} is on another host, and anyone on the way could read to whom this one writes, "
            f"and change the routes: expected {TLS}://"
        )
    return address


def _parse_address(text: str, option: str) -> ValkeyAddress:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", _port_of(parts)
        database = parts.path.removeprefix("/") or "0"
    except ValueError as error:
        raise ValueError(f"{option}: not an address: {_FORMS}") from error
    if parts.password is not None:
        # The text is not repeated: the message may end in a log that more people read than the configuration.
        raise ValueError(
            f"{option} has a password in it, and anyone who may read the configuration could read it: "
            "expected it in a file of its own with mode 0600, named by sync.store_password_file"
        )
    # int() would take the digits of other scripts too.
    is_number = database.isascii() and database.isdecimal() and len(database) < len("10000")
    if not host or parts.query or parts.fragment or not is_number:
        raise ValueError(f"{option}: {text!r} is not an address: {_FORMS}")
    return ValkeyAddress(host, port, int(database), parts.scheme == TLS, parts.username or "")


def _port_of(parts: SplitResult) -> int:
    _, colon, port = parts.netloc.rpartition("@")[2].rpartition("]")[2].rpartition(":")
    return parse_port(port if colon else _DEFAULT_PORT)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
