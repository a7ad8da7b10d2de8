"""A network without anybody else, for one program: nothing of the machine is on its ports."""

import fcntl
import os
import socket
import struct
import sys

OWN_NETWORK = ("unshare", "--net", sys.executable, "-I", __file__)
"""What goes before a program and its arguments; only root may (network_namespaces(7))."""
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def loopback_up() -> None:
    """Bring up lo, the only interface of a new network namespace (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as interface:
        request = fcntl.ioctl(interface, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack("16sH14x", request)[1] | _IFF_UP
        fcntl.ioctl(interface, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))


if __name__ == "__main__":
    loopback_up()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 -- a shell would be one program more
