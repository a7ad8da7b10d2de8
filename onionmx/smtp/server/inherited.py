"""Sockets that systemd hands over to the relay."""

import socket
from collections.abc import Collection, Iterable

from onionmx.errors import ConfigurationError
from onionmx.net.listen import written_address
from onionmx.smtp.server.listener import SmtpListener

_SMTP, _LMTP = "smtp", "lmtp"
"""Names for systemd."""


def take_over(
    inherited: Iterable[tuple[str, socket.socket]], smtp: Collection[str], lmtp: Collection[str]
) -> list[SmtpListener]:
    """Sockets from systemd: what to speak on one says its name, `smtp` or `lmtp`, or else its address.

    Args:
        inherited: names and sockets, as `inherited_sockets` has them.
        smtp: addresses for SMTP, as the configuration writes them.
        lmtp: addresses for LMTP.

    Raises:
        ConfigurationError: nobody knows what to speak on a socket.
    """
    listeners = []
    for name, bound in inherited:
        address = written_address(bound)
        if name not in {_SMTP, _LMTP} and address not in {*smtp, *lmtp}:
            raise ConfigurationError(
                f"systemd has handed over a socket at {address}, named {name!r}: expected {_SMTP} or {_LMTP} as "
                "FileDescriptorName=, or an address of relay.smtp_listen or relay.lmtp_listen"
            )
        listeners.append(SmtpListener(bound, name == _LMTP or (name != _SMTP and address in lmtp)))
    return listeners
