"""Clients of an onion service: one that floods it over one circuit at a time, and one that is honest."""

import smtplib
import threading
import time
from contextlib import suppress
from typing import Self

from .onion_smtp import OnionSession
from .receiving import DOMAIN
from .socks import Address

_GUESSES = 10
"""Recipients that the flood tries in a session."""


def deliver(socks: Address, onion: str, user: str, message: bytes) -> float:
    """Deliver a message in a session of its own; return the seconds that it took."""
    start = time.monotonic()
    with OnionSession(socks, onion, user) as session:
        session.sendmail("carol@elsewhere.example", f"alice@{DOMAIN}", message)
    return time.monotonic() - start


class Flood:
    """Connects again and again, and guesses recipients.

    Args:
        socks: of the client's tor.
        onion: which is flooded.
        threads: sessions at the same time.

    Attributes:
        sessions: that have got a greeting.
        refused: answers 421.
        broken: connections that were not opened, or broke off.
    """

    def __init__(self, socks: Address, onion: str, threads: int) -> None:
        self.sessions = self.refused = self.broken = 0
        self._socks, self._onion = socks, onion
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                session = OnionSession(self._socks, self._onion, "flood")
                self.sessions += 1
                self._guess(session)
                session.close()
            except smtplib.SMTPConnectError:
                self.refused += 1
            except (OSError, smtplib.SMTPException):
                self.broken += 1

    def _guess(self, session: smtplib.SMTP) -> None:
        session.mail("mallory@elsewhere.example")
        for number in range(_GUESSES):
            if self._stop.is_set():
                return
            if session.rcpt(f"guess{number}@{DOMAIN}")[0] == 421:
                self.refused += 1
                return

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._stop.set()
        for thread in self._threads:
            with suppress(RuntimeError):
                thread.join()
