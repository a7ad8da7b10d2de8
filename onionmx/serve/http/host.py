"""Whether an HTTP request was meant for this machine.

A web page can have its own name lead to a loopback port (DNS rebinding), and its reader's browser ask us and hand over
what we say. The browser writes that name in `Host` (RFC 9110 section 7.2): no stranger owns an address, `localhost`,
a name of this machine or a name without a dot.
"""

import re
import socket
from collections.abc import Collection
from functools import cache
from ipaddress import ip_address
from pathlib import Path

_HOSTS = Path("/etc/hosts")
_HOST = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::[0-9]*)?")


def is_for_this_machine(host: str, names: Collection[str] = ()) -> bool:
    """Whether no web page of a stranger can have this in `Host`.

    Args:
        host: the field's value: a name or address, and perhaps a port.
        names: in lower case, that the administrator says are of this machine.
    """
    match = _HOST.fullmatch(host.strip().lower())
    if match is None:
        return False
    if match[1] is None and ("." not in match[2] or match[2] in names or match[2] in names_of_this_machine(_HOSTS)):
        return True
    try:
        ip_address(match[2] if match[1] is None else match[1])
    except ValueError:
        return False
    return True


@cache
def names_of_this_machine(hosts: Path) -> frozenset[str]:
    """Its name, and those beside it in /etc/hosts (hosts(5)), where Debian writes the long one; DNS could hang.

    Args:
        hosts: path of that file.
    """
    own = socket.gethostname().lower()
    try:
        text = hosts.read_text(errors="replace").lower()
    except OSError:
        text = ""
    lines = [line.partition("#")[0].split()[1:] for line in text.splitlines()]
    return frozenset([own, *(name for names in lines if own in names for name in names)])
