"""The client's half of SOCKS5 with user and password, without I/O (RFC 1928, RFC 1929).

A host name goes to the proxy as it is. Tor isolates streams by user and password (tor(1), IsolateSOCKSAuth), so no
other method is offered: a proxy that takes none is not what mail should go through.
"""

from dataclasses import dataclass

_METHODS = b"\x05\x01\x02"  # version 5, one method, user and password
_USER_AND_PASSWORD = b"\x05\x02"
_VERSION = 5
_LOGIN_VERSION = 1
_CONNECT_TO_NAME = b"\x05\x01\x00\x03"
_SUCCEEDED = 0
_SHORTEST = 5  # bytes of a reply that are always there: version, number, reserved, kind of address, and one of it
_PORT = 2  # bytes
_ADDRESS_SIZES = {1: 4, 4: 16}
_NAME = 3
_MAX_FIELD = 255  # each field has one byte for its length

_SPEAKERS = {
    b"HT": "an HTTP server",
    b"SS": "an SSH server",
    b"22": "a mail or FTP server",
    b"51": "tor's control port",
    b"-E": "a Redis or Valkey server",
    b"\x15\x03": "a TLS server",
    b"\x00\x5a": "a SOCKS4 proxy",
    b"\x00\x5b": "a SOCKS4 proxy",
    b"\x00\x5c": "a SOCKS4 proxy",
    b"\x00\x5d": "a SOCKS4 proxy",
}
"""Who answers with these first two bytes where SOCKS5 was expected."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The way is open; what comes now is from the destination."""


@dataclass(frozen=True, slots=True)
class SocksRefused:
    """The proxy says that there is no way.

    Attributes:
        number: of the reply (RFC 1928 section 6; tor's own are in torspec socks-extensions).
    """

    number: int


@dataclass(frozen=True, slots=True)
class WrongService:
    """What answers is not tor's SOCKS port.

    Attributes:
        words: what it is or does, as the rest of a sentence that begins with where it is.
    """

    words: str


@dataclass(frozen=True, slots=True)
class SocksClosed:
    """The proxy took the request and closed the connection without a reply."""


class Handshake:
    """One handshake, of which all is sent at once: that saves the round trips to the proxy.

    Tor then leaves out its answer about the method.

    Args:
        host: host name or address, for the proxy to connect to.
        user: 1 to 255 bytes.
        password: 1 to 255 bytes.

    Attributes:
        is_let_in: whether the proxy took user and password; what it says next is about the destination.
        result: how it ended; `None` while it goes on.
        rest: what came behind the reply, from the destination.

    Raises:
        ValueError: a field is empty or too long.
    """

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        login = bytes([_LOGIN_VERSION]) + _field(user) + _field(password)
        self._to_send = _METHODS + login + _CONNECT_TO_NAME + _field(host) + port.to_bytes(_PORT, "big")
        self._received = bytearray()
        self._needed = 2  # bytes until the next step can be taken
        self._step = self._take_method
        self.is_let_in = False
        self.result: Connected | SocksRefused | WrongService | SocksClosed | None = None
        self.rest = b""

    def data_to_send(self) -> bytes:
        """The bytes for the proxy that were not taken yet."""
        data, self._to_send = self._to_send, b""
        return data

    @property
    def wanted(self) -> int:
        """How many bytes to read next at most, so that nothing of the destination's is taken."""
        return self._needed - len(self._received)

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the proxy."""
        self._received += data
        while self.result is None and len(self._received) >= self._needed:
            self._step()
        if self.result is not None:
            self.rest += self._received
            self._received.clear()

    def receive_eof(self) -> None:
        """The proxy closed the connection."""
        if self.result is not None:
            return
        if self.is_let_in:
            self.result = SocksClosed()
        else:
            self.result = WrongService("closes connections: it is not tor's SOCKS port, or SocksPolicy keeps us out")

    def _take_method(self) -> None:
        if self._received[0] == _LOGIN_VERSION:
            self._step = self._take_login
            return
        answer = self._pop(2)
        if answer == _USER_AND_PASSWORD:
            self._step = self._take_login
        elif answer[0] == _VERSION:
            self.result = WrongService("is a SOCKS5 proxy that takes no user and password, so it is not tor")
        else:
            self.result = _not_socks(answer)

    def _take_login(self) -> None:
        answer = self._pop(2)
        if answer[0] != _LOGIN_VERSION:
            self.result = _not_socks(answer)
        elif answer[1] != _SUCCEEDED:
            self.result = WrongService("is a SOCKS5 proxy that refuses user and password, so it is not tor")
        else:
            self.is_let_in = True
            self._step = self._take_reply

    def _take_reply(self) -> None:
        version, number = self._received[:2]
        if version != _VERSION:
            self.result = _not_socks(self._pop(2))
        elif number != _SUCCEEDED:
            # The address behind it means nothing, and not every proxy sends it.
            self.result = SocksRefused(number)
            self._received.clear()
        else:
            self._step, self._needed = self._take_kind, _SHORTEST

    def _take_kind(self) -> None:
        kind, first = self._received[3:_SHORTEST]
        size = 1 + first if kind == _NAME else _ADDRESS_SIZES.get(kind)
        if size is None:
            self.result = WrongService("gives a SOCKS5 reply that cannot be read, so it is not tor")
        else:
            self._step, self._needed = self._take_address, _SHORTEST - 1 + size + _PORT

    def _take_address(self) -> None:
        self._pop(self._needed)
        self.result = Connected()

    def _pop(self, count: int) -> bytes:
        data = bytes(self._received[:count])
        del self._received[:count]
        return data


def _field(text: str) -> bytes:
    data = text.encode()
    if not 0 < len(data) <= _MAX_FIELD:
        raise ValueError(f"{text[:80]!r} has {len(data)} bytes: SOCKS5 carries 1 to {_MAX_FIELD}")
    return bytes([len(data)]) + data


def _not_socks(beginning: bytes) -> WrongService:
    speaker = _SPEAKERS.get(beginning)
    if speaker:
        return WrongService(f"is {speaker}, not tor's SOCKS port")
    return WrongService(f"does not speak SOCKS5 (it says {beginning!r}), so it is not tor's SOCKS port")
