"""Addresses as the configuration writes them."""

import re
from ipaddress import ip_address

from onionmx.onion import parse_port

DEFAULT_DNS_PORT = "53"
UNIX = "unix:"
"""What stands in front of the path of a unix socket."""
_HOST_AND_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?")


def parse_nameserver(text: str, default_port: str = DEFAULT_DNS_PORT) -> tuple[str, int]:
    """Read `IP`, `IP:PORT` or `[IPv6]:PORT`.

    Args:
        text: the address.
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


def check_listen(text: str) -> None:
    """Refuse what is neither `IP:PORT` nor `unix:/path`.

    Raises:
        ValueError: not of these forms.
    """
    if not text.startswith(f"{UNIX}/"):
        parse_socket(text)
