"""Which way a message came, as its Received fields have it: over an onion service or over the clearnet; no I/O."""

from collections.abc import Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from msgspec import Struct

from onionmx.echo.received import Hop
from onionmx.tor.client_circuit import CIRCUITS

TOR_ADDRESSES = ("127.0.0.1", "::1")
"""From where tor hands over connections, if it is on the same machine as the MTA."""

_LOCAL = "localhost"
_WITHOUT_ADDRESS = ("local", "lmtp")
"""How what is behind `with` begins where no address is no wonder: a user's program (Exim), a unix socket (Dovecot)."""


class Way(StrEnum):
    """How it came."""

    ONION = "onion"
    CLEARNET = "clearnet"
    UNKNOWN = "unknown"


class Path(Struct, frozen=True):
    """Which way, and what shows it."""

    way: Way
    reason: str


def circuit_of(hop: Hop) -> int | None:
    """The number of the circuit of an onion service by which the message came; `None` where the hop shows none."""
    address = _address(hop)
    if isinstance(address, IPv6Address) and address in CIRCUITS:
        return int(address) & 0xFFFFFFFF
    return None


def path_of(hops: Sequence[Hop], tor_addresses: Sequence[str] | None = None) -> Path:
    """Decide which way a message came.

    A circuit as the client's address, and the relay of onionmx, show it beyond doubt, unless a host behind that circuit
    sent the message on from a public address: it may have been the one that sends mail for this host. Else the last
    host that had the message from another one decides: tor connects from the MTA's own machine, and the name in EHLO is
    another host's. An address of a private network, and a host that is named without an address, show neither; what was
    before such a one on the way is no sign of tor then, as a filter of the sending host looks the same.

    Args:
        hops: the oldest first.
        tor_addresses: from where tor hands over connections to the last host, if it is known: any other address is a
            clearnet one then.
    """
    for hop in hops:
        if hop.is_relay:
            return Path(Way.ONION, f"the relay at {hop.by} took it, which hands mail to onions alone")
    unsure = ""
    for hop in reversed(hops):
        circuit, address = circuit_of(hop), _address(hop)
        if circuit is not None:
            return Path(Way.ONION, f"{hop.by} had it by circuit {circuit} of its onion service")
        if _is_within_host(hop, address):
            continue
        if address is None:
            unsure = unsure or f"{hop.by} had it from {hop.name}, and does not say from which address"
        elif str(address) in (TOR_ADDRESSES if tor_addresses is None else tor_addresses):
            if not unsure:
                return Path(Way.ONION, f"{hop.by} had it from {hop.name} by way of tor, at {address}")
        elif address.is_global or tor_addresses is not None:
            return _public(hop, hops)
        else:
            unsure = unsure or f"{hop.by} had it from {hop.name} at {address}, an address that shows neither"
    return Path(Way.UNKNOWN, unsure or "no Received field says from where it came")


def _public(hop: Hop, hops: Sequence[Hop]) -> Path:
    """The way of a message that a host had from a public address, and tor not behind it."""
    words = f"{hop.by} had it from {hop.name} at {hop.address}"
    before = next((one for one in hops if circuit_of(one) is not None), None)
    if before is None:
        return Path(Way.CLEARNET, words)
    return Path(Way.UNKNOWN, f"{before.by} had it by a circuit of its onion service, but then {words}")


def _address(hop: Hop) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(hop.address)
    except ValueError:
        return None


def _is_within_host(hop: Hop, address: IPv4Address | IPv6Address | None) -> bool:
    """Whether a program handed it to another one of the same host: a user's, or a content filter."""
    client, server = hop.name.lower(), hop.by.lower()
    if address is None:
        return hop.protocol.lower().startswith(_WITHOUT_ADDRESS) or "." not in client or client == server
    return address.is_loopback and (client in {"", _LOCAL, server} or client.startswith("[") or server == _LOCAL)
