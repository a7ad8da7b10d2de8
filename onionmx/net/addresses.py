"""Addresses of the internet, told from those of this host and of the networks that it is in."""

from ipaddress import IPv4Address, IPv6Network, ip_address

_WITH_IPV4 = (
    IPv6Network("::/96"),  # IPv4-compatible (RFC 4291 section 2.5.5.1)
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped (section 2.5.5.2)
    IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052)
)
"""Whose last 32 bits are the IPv4 address that is meant."""
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # RFC 8215


def is_public(text: str) -> bool:
    """Whether an address is that of one host somewhere in the internet, by IANA's registries of special addresses.

    Those of loopback, of private networks and of links are not, nor are groups, and nor is what a gateway or tunnel
    would turn into one of them.

    Args:
        text: IPv4 or IPv6.

    Raises:
        ValueError: neither.
    """
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    if any(address in network for network in _WITH_IPV4):
        return is_public(str(IPv4Address(int(address) & 0xFFFFFFFF)))
    if address.sixtofour is not None:  # 2002::/16, RFC 3056; Python 3.13 calls none of it global
        return is_public(str(address.sixtofour))
    is_special = address.is_multicast or address.is_site_local or address in _LOCAL_NAT64 or address.scope_id
    return address.is_global and not is_special
