"""Telling systemd how the service is doing (sd_notify(3)): one datagram to the socket that it names."""

import logging
import os
import socket

_logger = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send a state such as `READY=1`; nothing happens where no service manager listens.

    Args:
        state: assignments of sd_notify(3), one a line.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket is written with @ for the NUL
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto(state.encode(), address)
    except OSError as error:
        _logger.warning("the service manager cannot be told %s: %s", state, error)
