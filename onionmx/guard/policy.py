r"""Postfix's policy protocol (SMTPD_POLICY_README): `name=value` lines and an empty one; `action=...` and an empty one.

Exim sends the same by `${readsocket}`. No I/O.
"""

from dataclasses import dataclass

from onionmx.guard.limits import Event
from onionmx.serve.protocols.codec import LineReader, ProtocolFault

MAX_LINE = 8_192
"""Bytes of a line. Postfix cuts what clients send at 2048 (line_length_limit), and writes certificates in full."""
MAX_REQUEST = 65_536
"""Bytes of a request."""
ACCEPTED, ERROR = "accepted", "error"
"""Values of `policy_context` (postconf(5), smtpd_policy_service_policy_context) that say what has happened."""

_REQUEST = "smtpd_access_policy"
_KEPT = ("request", "protocol_state", "client_address", "policy_context", "size")
_STATES = {"CONNECT": Event.CONNECTION, "RCPT": Event.RECIPIENT, "END-OF-MESSAGE": Event.MESSAGE}
_CONTEXTS = {("RCPT", ACCEPTED): Event.ACCEPTED}
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    """What an MTA asks.

    Attributes:
        client: address of the client.
        event: what happens; `None` for what is not counted.
        size: bytes of a message that has arrived; 1 for everything else.
    """

    client: str
    event: Event | None
    size: float = 1.0


class PolicyParser:
    """Cuts what arrives on one connection into requests; attributes that are not needed are not kept."""

    def __init__(self) -> None:
        self._lines = LineReader(MAX_LINE)
        self._attributes: dict[str, str] = {}
        self._size = 0
        self._fault = ""

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        self._lines.feed(data)

    def next_request(self) -> PolicyRequest | ProtocolFault | None:
        """The next whole request, a fault, or `None` until more has arrived. Not to be called after a fatal fault."""
        while True:
            line = self._lines.next_line()
            if line is None or isinstance(line, ProtocolFault):
                return line
            if not line:
                return self._end_request()
            self._size += len(line) + 1
            if self._size > MAX_REQUEST:
                return ProtocolFault(f"a request of more than {MAX_REQUEST} bytes", is_fatal=True)
            self._take(line)

    def _take(self, line: bytes) -> None:
        name, equals, value = line.decode("ascii", "replace").partition("=")
        if not equals or not name or "\0" in line.decode("latin-1"):
            self._fault = self._fault or "a line that is not name=value"
        elif name in _KEPT:
            self._attributes.setdefault(name, value)

    def _end_request(self) -> PolicyRequest | ProtocolFault:
        attributes, fault = self._attributes, self._fault
        self._attributes, self._fault, self._size = {}, "", 0
        if not fault and attributes.get("request") != _REQUEST:
            fault = f"no request={_REQUEST}"
        return ProtocolFault(fault, is_fatal=False) if fault else _request(attributes)


def write_action(action: str) -> bytes:
    """The answer.

    Args:
        action: of access(5), one line.
    """
    return f"action={action}\n\n".encode("ascii")


def _request(attributes: dict[str, str]) -> PolicyRequest:
    state, context = attributes.get("protocol_state", ""), attributes.get("policy_context", "")
    event = Event.ERROR if context == ERROR else _CONTEXTS.get((state, context), _STATES.get(state))
    size = attributes.get("size", "") if event is Event.MESSAGE else "1"
    is_number = size.isascii() and size.isdecimal() and len(size) <= _MAX_DIGITS
    return PolicyRequest(attributes.get("client_address", ""), event, float(size) if is_number else 0.0)
