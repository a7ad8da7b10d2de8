"""Whether an HTTP request was meant for this machine.

A web page can have its own name lead to a loopback port (DNS rebinding), and its reader's browser ask us and hand over
what we say. The browser writes that name in `Host` (RFC 9110 section 7.2): no stranger owns an address, `localhost`,
this machine's name or a name without a dot.
"""

import re
import socket
from ipaddress import ip_address

_HOST = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::[0-9]*)?")


def is_for_this_machine(host: str) -> bool:
    """Whether no web page of a stranger can have this in `Host`.

    Args:
        host: the field's value: a name or address, and perhaps a port.
    """
    match = _HOST.fullmatch(host.strip().lower())
    if match is None:
        return False
    if match[1] is None and ("." not in match[2] or match[2] == socket.gethostname().lower()):
        return True
    try:
        ip_address(match[2] if match[1] is None else match[1])
    except ValueError:
        return False
    return True
