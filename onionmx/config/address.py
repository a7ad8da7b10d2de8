"""Addresses as the configuration writes them."""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from msgspec import Meta

from onionmx.domain import normalize, shown
from onionmx.errors import DomainError
from onionmx.onion import is_for_tor_alone, parse_port

DEFAULT_DNS_PORT = "53"
UNIX = "unix:"
"""The prefix of the path of a unix socket."""
Address = tuple[str, int] | Path
"""IP address and port, or the path of a unix socket; where `parse_server` has read it, also the name of a host."""
OWNER = Meta(
    pattern="^[a-z0-9_-]*(:[a-z0-9_-]+)?$",
    description="Owner of unix sockets as USER, USER:GROUP or :GROUP; empty for the daemon's own.",
)
"""An option that names the owner of sockets."""
_MAX_PATH = 107  # bytes; unix(7)
_HOST_AND_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # what inet_aton(3), and so getaddrinfo(3), would take for an address


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


def parse_server(text: str) -> Address:
    """Read `IP:PORT`, `[IPv6]:PORT`, `NAME:PORT` or `unix:/path`: a program that may be on another machine.

    Raises:
        ValueError: not of these forms, or the name is none that the system may be asked for.
    """
    if text.startswith(UNIX):
        return parse_address(text)
    host, port = split_host(text)
    try:
        return parse_host(host), parse_port(port)
    except ValueError as error:
        expected = f"expected IP:PORT, [IPv6]:PORT, NAME:PORT or {UNIX}/path"
        raise ValueError(f"{shown(text)} is not an address: {expected}; {error}") from error


def split_host(text: str) -> tuple[str, str]:
    """Take a host and its port apart, as they are written; the port is empty where none is.

    What is in brackets can only be an IP address, and keeps them otherwise.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None:
        return text, ""
    if match[1] is None:
        return match[2], match[3] or ""
    return (match[1] if is_address(match[1]) else f"[{match[1]}]"), match[3] or ""


def parse_host(text: str) -> str:
    """Read an IP address, or the name of a host that the system is to find (RFC 1123 section 2.1).

    Raises:
        ValueError: neither: a name for Tor alone, one that would be taken for an address, or not in its usual form.
    """
    if is_address(text):
        return str(ip_address(text))
    if is_for_tor_alone(text):
        raise DomainError(f"{shown(text)} is a name for Tor, and would be asked for in DNS")
    plain = text.replace("_", "-")  # which names of containers have, and the system finds
    if (name := normalize(plain)) != plain:
        raise DomainError(f"{shown(text)} should be written {name!r}")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise DomainError(f"{shown(text)} is neither an IP address nor a name: names do not end in a number")
    return text


def is_address(text: str) -> bool:
    """Whether this is an IP address, and no name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


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
