"""An SMTP session with an onion service, without onionmx."""

import smtplib
import socket

from .socks import Address, socks_connect

CLIENT_TIMEOUT = 240.0
"""Seconds."""


class OnionSession(smtplib.SMTP):
    """A session in which EHLO was said.

    Args:
        socks: tor's SOCKS port.
        onion: the onion service.
        user: whose connections have circuits of their own; empty for none.
    """

    def __init__(self, socks: Address, onion: str, user: str = "") -> None:
        self._socks, self._user = socks, user
        super().__init__(onion, 25, "client.example", timeout=CLIENT_TIMEOUT)
        self.ehlo()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connected = socks_connect(self._socks, host, port, user=self._user)
        connected.settimeout(timeout)
        return connected
