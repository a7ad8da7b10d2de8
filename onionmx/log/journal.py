"""The journal's own protocol: an event as a datagram of fields (systemd, "Native Journal Protocol").

https://systemd.io/JOURNAL_NATIVE_PROTOCOL/; the names of fields are those of systemd.journal-fields(7), and those of
an event in capitals after `ONIONMX_`.
"""

import errno
import fcntl
import logging
import os
import socket
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path

from onionmx.log.fields import Value, fields_of, without_addresses
from onionmx.log.formats import TextFormatter
from onionmx.text import escaped

SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "onionmx"
"""SYSLOG_IDENTIFIER, for `journalctl -t onionmx`; what systemd itself takes for what we write to standard error."""

_PREFIX = "ONIONMX_"
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # syslog(3)
_DEBUG = 7
_LENGTH_BYTES = 8  # little-endian, before a value that has line ends
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_TOO_LARGE = frozenset({errno.EMSGSIZE, errno.ENOBUFS})


def encoded(fields: Iterable[tuple[str, str]]) -> bytes:
    """The datagram for an entry.

    Args:
        fields: names, of capitals, digits and underscores, and values, which may have line ends.
    """
    return b"".join(_field(name.encode("ascii"), value.encode("utf-8", "backslashreplace")) for name, value in fields)


def _field(name: bytes, value: bytes) -> bytes:
    if b"\n" not in value:
        return b"%s=%s\n" % (name, value)
    return b"%s\n%s%s\n" % (name, len(value).to_bytes(_LENGTH_BYTES, "little"), value)


class JournalHandler(logging.Handler):
    """Sends events to the journal; what it does not take goes to standard error, as text.

    Args:
        path: of its socket.
        with_addresses: leave email addresses in it.

    Raises:
        OSError: nobody listens there.
    """

    def __init__(self, path: Path, *, with_addresses: bool) -> None:
        super().__init__()
        self._with_addresses = with_addresses
        self._path = path
        self._as_text = TextFormatter(with_addresses=with_addresses)
        self._fallback = logging.StreamHandler()
        self._fallback.setFormatter(self._as_text)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as tried:
            tried.connect(str(path))
        # Not connected: it outlives a journal that starts again.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def emit(self, record: logging.LogRecord) -> None:
        """Send an event; a journal that is slow or away holds nothing up."""
        try:
            self._send(encoded(self._described(record).items()))
        except OSError:
            self._fallback.handle(record)
        except Exception:  # noqa: BLE001 -- as the handlers of `logging` do
            self.handleError(record)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _described(self, record: logging.LogRecord) -> Mapping[str, str]:
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), _DEBUG)
        message = "; ".join(record.getMessage().splitlines())
        if record.exc_info:
            message += "\n" + self._as_text.formatException(record.exc_info)
        return {
            "MESSAGE": self._clean(message),
            "PRIORITY": str(priority),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "LOGGER": record.name,
            **{_PREFIX + name.upper(): self._clean(value) for name, value in fields_of(record).items()},
        }

    def _clean(self, value: Value) -> str:
        text = "\n".join(map(escaped, str(value).split("\n")))
        return text if self._with_addresses else without_addresses(text)

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.sendto(datagram, socket.MSG_DONTWAIT, str(self._path))
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            self._send_as_file(datagram)

    def _send_as_file(self, datagram: bytes) -> None:
        """Send what is too large for a datagram as a file in memory that nobody can change any more."""
        descriptor = os.memfd_create("onionmx-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(descriptor, "wb") as file:  # noqa: PTH123 -- it has no path
            file.write(datagram)
            file.flush()
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))]
            self._socket.sendmsg([], rights, socket.MSG_DONTWAIT, str(self._path))
