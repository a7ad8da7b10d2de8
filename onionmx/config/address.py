"""Addresses as the configuration writes them."""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from msgspec import Meta

from onionmx.domain import normalize, shown
from onionmx.onion import parse_port

DEFAULT_DNS_PORT = "53"
UNIX = "unix:"
"""The prefix of the path of a unix socket."""
Address = tuple[str, int] | Path
"""IP address and port, or the path of a unix socket."""
OWNER = Meta(
    pattern="^[a-z0-9_-]*(:[a-z0-9_-]+)?$",
    description="Owner of unix sockets as USER, USER:GROUP or :GROUP; empty for the daemon's own.",
)
"""An option that names the owner of sockets."""
_MAX_PATH = 107  # bytes; unix(7)
_HOST_AND_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?")


def parse_nameserver(text: str, default_port: str = DEFAULT_DNS_PORT) -> tuple[str, int]:
    """Read `IP`, `IP:PORT` or `[IPv6]:PORT`.

    Args:
        default_port: where none is written.

    Raises:
        ValueError: not of that form.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    host, port = (match[1] or match[2], match[3]) if match else (text, None)
    try:
        return str(ip_address(host)), parse_port(port or default_port)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a name server: expected IP, IP:PORT or [IPv6]:PORT") from error


def parse_socket(text: str) -> tuple[str, int]:
    """Read `IP:PORT` or `[IPv6]:PORT`.

    Raises:
        ValueError: not of that form.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    host, port = (match[1] or match[2], match[3] or "") if match else (text, "")
    try:
        return str(ip_address(host)), parse_port(port)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an address: expected IP:PORT or [IPv6]:PORT") from error


def parse_address(text: str) -> Address:
    """Read `IP:PORT`, `[IPv6]:PORT` or `unix:/path`.

    Raises:
        ValueError: not of these forms, or a path that is too long for a socket.
    """
    if not text.startswith(UNIX):
        return parse_socket(text)
    path = text.removeprefix(UNIX)
    if not path.startswith("/") or "\0" in path or len(path.encode("utf-8", "surrogateescape")) > _MAX_PATH:
        raise ValueError(f"{text!r} is not a unix socket: expected unix:/path of up to {_MAX_PATH} bytes")
    return Path(path)


def check_listen(text: str) -> None:
    """Refuse what is neither `IP:PORT` nor `unix:/path`.

    Raises:
        ValueError: not of these forms.
    """
    parse_address(text)


def check_names(setting: str, names: Iterable[str]) -> None:
    """Refuse what can be no name of a host in DNS, or would not be found as it is written.

    Raises:
        ValueError: one of them.
    """
    for name in names:
        if normalize(name) != name:
            raise ValueError(f"{setting}: {shown(name)}: expected {normalize(name)!r}, without a port")
