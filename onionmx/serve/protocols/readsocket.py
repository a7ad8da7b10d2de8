r"""The line protocol for Exim's `${readsocket}`, without I/O.

    request = QUESTION SP KEY LF            the LF may be left out where the client half-closes instead, as Exim does
    QUESTION = "hosts" / "route"
    KEY     = a domain or an address
    reply   = ("found" SP ANSWER / "none" SP REASON / "refuse" SP REASON / "defer" SP REASON) LF

`hosts` asks what `onionmx-route` prints: virtual addresses from Tor's DNSPort, `ip` or `ip::port`, joined by colons, in
route order; for Exim's own SOCKS transport. `route` asks only whether there is a route; ANSWER is what the map would
hold, `onion` or `onion:port`, joined by blanks; for mail that goes to the relay. `none` is exit code 1 of
`onionmx-route`, `refuse` is 68 (no onion service can have the name, and no other DNS may hear it), and `defer` all its
others; but a key that names no domain is `none`. A request that is none is answered by `defer`.

The daemon closes the connection when it has answered everything that has arrived, with or without a half-close. A reply
is whole only with its LF: a configuration must defer on everything that is no whole `found`, `none` or `refuse`.
In Exim, whose third argument here turns the LF into a blank:

    ${readsocket{inet:127.0.0.1:10029}{hosts $domain\n}{40s}{ }{defer no answer}}

    found    \N^found ([0-9.:]+) $\N
    decline  \N^none [^\n]* $\N
    fail     \N^refuse [^\n]* $\N
"""

from dataclasses import dataclass

from onionmx.serve.protocols.codec import Codec, LineReader, LookupResult, ProtocolFault
from onionmx.text import printable_ascii

MAX_LINE = 4096
"""Bytes of a request; Exim's addresses are far shorter."""

_QUESTIONS = {b"hosts": True, b"route": False}


@dataclass(frozen=True, slots=True)
class ReadsocketQuestion:
    """A request of Exim.

    Attributes:
        key: a domain or an address.
        wants_hosts: `hosts` rather than `route`.
    """

    key: bytes
    wants_hosts: bool


class ReadsocketParser(LineReader):
    """Lines in, questions out."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(MAX_LINE)

    def next_request(self) -> ReadsocketQuestion | ProtocolFault | None:
        """The next question, a fault, or `None` until more has arrived."""
        line = self.next_line()
        return line if line is None or isinstance(line, ProtocolFault) else _question(line)

    def end(self) -> ReadsocketQuestion | ProtocolFault | None:
        """A last question that has no LF."""
        rest = self.rest()
        return _question(rest.removesuffix(b"\r")) if rest else None


def _question(line: bytes) -> ReadsocketQuestion | ProtocolFault:
    word, _, key = line.partition(b" ")
    wants_hosts = _QUESTIONS.get(word)
    if wants_hosts is None:
        return ProtocolFault("expected hosts or route, a space and a domain", is_fatal=False)
    return ReadsocketQuestion(key, wants_hosts)


def _found(result: bytes) -> bytes:
    return b"found %b\n" % result


def _failed(_outcome: LookupResult, reason: str) -> bytes:
    return f"defer {printable_ascii(reason)}\n".encode("ascii")


def _none(reason: str) -> bytes:
    return f"none {printable_ascii(reason) or 'no onion MX'}\n".encode("ascii")


def _refused(reason: str) -> bytes:
    return f"refuse {printable_ascii(reason)}\n".encode("ascii")


def _malformed(reason: str) -> bytes:
    return _failed(LookupResult.PERMANENT, reason)


READSOCKET = Codec(
    "readsocket", ReadsocketParser, _found, _failed, _none, _refused, _malformed, lambda _data: None, one_exchange=True
)
