"""The resolvers of /etc/resolv.conf, as glibc reads it (resolv.conf(5); glibc, resolv/res_init.c).

Every program on the host finds its resolvers there, so what glibc makes of an odd line is what holds: the address ends
at a blank, the bytes around it need no encoding, and a line whose address is none counts as not written.
"""

import re
import socket
from dataclasses import dataclass
from pathlib import Path

from onionmx.domain import shown
from onionmx.errors import ConfigurationError

RESOLV_CONF = Path("/etc/resolv.conf")
MOST = 3
"""Resolvers that glibc takes (MAXNS); further ones count as not written."""

_LINE = re.compile(rb"nameserver[ \t]+([^ \t\n\0]*)")
_OPTIONS = re.compile(rb"options[ \t]([^\n\0]*)")
_TRUST_AD = b"trust-ad"


@dataclass(frozen=True, slots=True)
class SystemResolvers:
    """What the file says.

    Attributes:
        addresses: of the resolvers, in order; never empty.
        trusts_ad: `options trust-ad` says that they, and the way to them, are worth believing about DNSSEC.
    """

    addresses: tuple[str, ...]
    trusts_ad: bool


def system_resolvers(path: Path = RESOLV_CONF) -> SystemResolvers:
    """The resolvers of this host.

    Raises:
        ConfigurationError: the file cannot be read, or has no resolver. glibc would ask this host itself then; whether
            that is meant, nobody can tell.
    """
    advice = "write one there, or name the resolvers in dns.nameservers"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"no resolver: {path} cannot be read ({error.strerror}); {advice}") from error
    addresses, wrong = read_resolv_conf(content)
    if addresses:
        return SystemResolvers(tuple(addresses), has_trust_ad(content))
    if wrong:
        number, word = wrong[0]
        raise ConfigurationError(f"{path}:{number}: {shown(word)} is no IP address, so there is no resolver; {advice}")
    raise ConfigurationError(f"no resolver: {path} has no nameserver line; {advice}")


def read_resolv_conf(content: bytes) -> tuple[list[str], list[tuple[int, str]]]:
    """Read the file.

    Returns:
        The addresses, IPv4 as four numbers, in the order of the lines; and the lines that have something else than an
        address, by number, with what they have.
    """
    addresses: list[str] = []
    wrong: list[tuple[int, str]] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if (match := _LINE.match(line)) is None:
            continue
        word = match[1].decode("ascii", "backslashreplace")
        address = _address(word)
        if address is None:
            wrong.append((number, word))
        elif len(addresses) < MOST:
            addresses.append(address)
    return addresses, wrong


def has_trust_ad(content: bytes) -> bool:
    """Whether `options trust-ad` is in the file. As in glibc, whatever word begins so counts."""
    found = filter(None, map(_OPTIONS.match, content.split(b"\n")))
    return any(word.startswith(_TRUST_AD) for line in found for word in re.split(rb"[ \t]+", line[1]))


def _address(word: str) -> str | None:
    if not word.isprintable():
        return None  # inet_aton would take a CR
    try:
        return socket.inet_ntoa(socket.inet_aton(word))  # takes 127.1, as glibc does
    except OSError:
        pass
    try:
        socket.inet_pton(socket.AF_INET6, word.partition("%")[0])
    except OSError:
        return None
    return word
