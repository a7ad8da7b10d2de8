"""The way to another host: over which interface, and whether that is WireGuard, which nobody on the way can read."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from onionmx.doctor.isolation.listening import IP

_INTERFACES = Path("/sys/class/net")
_HEADER = struct.Struct("=IHHII")  # nlmsghdr (netlink(7)): length, type, flags, sequence, port
_ROUTE = struct.Struct("=8BI")  # rtmsg (rtnetlink(7)): family, bits of the destination, ...
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_NUMBER = struct.Struct("=I")
_NEW_ROUTE, _GET_ROUTE, _REQUEST = 24, 26, 1  # RTM_NEWROUTE, RTM_GETROUTE, NLM_F_REQUEST
_DESTINATION, _INTERFACE = 1, 4  # RTA_DST, RTA_OIF


def interface_to(address: IP) -> str:
    """The interface over which packets to an address leave; empty where the kernel does not say it.

    Args:
        address: of another host.
    """
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET  # noqa: PLR2004 -- of IP
    bits, packed = address.max_prefixlen, address.packed
    body = _ROUTE.pack(family, bits, 0, 0, 0, 0, 0, 0, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _DESTINATION) + packed
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
            kernel.sendto(_HEADER.pack(_HEADER.size + len(body), _GET_ROUTE, _REQUEST, 0, 0) + body, (0, 0))
            index = read_interface(kernel.recv(65536, socket.MSG_DONTWAIT))  # it is there when the question was taken
            return socket.if_indextoname(index) if index else ""
    except OSError:
        return ""


def read_interface(answer: bytes) -> int:
    """The number of the interface in what the kernel answers; 0 for an error and for what is no answer.

    Args:
        answer: a message of netlink(7).
    """
    begin = _HEADER.size + _ROUTE.size
    if len(answer) < begin or _HEADER.unpack_from(answer)[1] != _NEW_ROUTE:
        return 0
    numbers = (value for kind, value in _attributes(answer[begin:]) if kind == _INTERFACE)
    value = next(numbers, b"")
    return int(_NUMBER.unpack(value)[0]) if len(value) == _NUMBER.size else 0


def is_wireguard(interface: str, interfaces: Path = _INTERFACES) -> bool:
    """Whether the kernel calls an interface one of WireGuard.

    Args:
        interface: its name.
        interfaces: where the kernel shows them.
    """
    try:
        return "DEVTYPE=wireguard" in (interfaces / interface / "uevent").read_text().splitlines()
    except OSError:
        return False


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            return
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]  # RTA_ALIGN
