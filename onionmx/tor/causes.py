"""Why there is no connection through tor's SOCKS port (RFC 1928; torspec socks-extensions and proposal 304); no I/O."""

from enum import Enum

from onionmx.errors import TemporaryError
from onionmx.onion import Endpoint, format_endpoint


class Cause(Enum):
    """Why there is no connection: the number of the SOCKS reply, or a name for what has none; in words; what to do."""

    PROXY_UNREACHABLE = (
        "unreachable",
        "tor's SOCKS port does not answer: is tor running?",
        "start tor, and compare tor.socks with the SocksPort of its torrc",
    )
    WRONG_SERVICE = (
        "wrong service",
        "what answers is not tor's SOCKS port",
        "set tor.socks to the SocksPort of tor",
    )
    HOST_UNKNOWN = (
        "unknown host",
        "the host of tor's SOCKS port cannot be found",
        "compare the name in tor.socks with that of tor's container or machine: getent ahosts NAME shows its addresses",
    )
    FOREIGN = (
        "foreign",
        "somebody else than tor listens at its SOCKS port",
        (
            "start tor and stop what listens in its place, or set tor.user if that is tor; a unix socket, or a port "
            "below 1024, is nobody else's to take"
        ),
    )
    PROXY_SILENT = (
        "silent",
        "tor's SOCKS port takes connections and says nothing",
        "look whether tor hangs, and compare tor.socks with the SocksPort of its torrc",
    )
    CLOSED = (
        "closed",
        "tor closed the connection without saying why: it may just be stopping",
        "look at tor's log",
    )
    TIMEOUT = (
        "timeout",
        "tor did not answer in time",
        "try again; if it stays so, look for circuit failures in tor's log, and compare the clock of this machine",
    )
    GENERAL = (
        0x01,
        "tor gave a general failure; set ExtendedErrors on its SocksPort to learn more",
        "add ExtendedErrors to the SocksPort line of torrc, restart tor (a reload leaves open ports as they are)",
    )
    NOT_ALLOWED = (
        0x02,
        "tor does not allow the connection",
        "look at the flags of the SocksPort and at SocksPolicy in torrc; this port must at least allow onion traffic",
    )
    NETWORK_UNREACHABLE = (
        0x03,
        "tor has no network",
        "look at this machine's connection and at tor's log: it may still be starting",
    )
    HOST_UNREACHABLE = (
        0x04,
        "tor cannot reach the onion service",
        "try again in some minutes; if it stays so, ask the operator of the onion service whether it is up",
    )
    REFUSED = (
        0x05,
        "the onion service refused the connection: nothing listens on this port",
        (
            "its operator has to compare HiddenServicePort with the address on which the MTA listens; "
            "the record must name the port of the service"
        ),
    )
    TTL_EXPIRED = (
        0x06,
        "tor's circuit timed out",
        "try again: the next connection takes another circuit",
    )
    NOT_SUPPORTED = (
        0x07,
        "this is not a SOCKS port of tor: command not supported",
        "set tor.socks to the SocksPort of tor",
    )
    ADDRESS_TYPE = (
        0x08,
        "this is not a SOCKS port of tor: address type not supported",
        "set tor.socks to the SocksPort of tor",
    )
    DESCRIPTOR_NOT_FOUND = (
        0xF0,
        "no descriptor found: the onion service is offline or never existed (F0)",
        (
            "compare the onion name with what its operator publishes, and ask whether tor runs there and can upload "
            "descriptors; a service that was just started needs a minute"
        ),
    )
    DESCRIPTOR_INVALID = (
        0xF1,
        "the onion service's descriptor is invalid (F1)",
        "compare the clock of this machine with the true time, and bring tor up to date here and there",
    )
    INTRODUCTION_FAILED = (
        0xF2,
        "introduction to the onion service failed: it may have just stopped (F2)",
        "try again in some minutes; its operator sees in tor's log whether the service runs and is overloaded",
    )
    RENDEZVOUS_FAILED = (
        0xF3,
        "rendezvous with the onion service failed (F3)",
        "try again: the next connection takes another rendezvous point; if it stays so, the service may be overloaded",
    )
    AUTHORIZATION_MISSING = (
        0xF4,
        "the onion service asks for a client authorization that tor does not have (F4)",
        "get a key from its operator for onionmx onion use-key, or ask for a service without one",
    )
    AUTHORIZATION_WRONG = (
        0xF5,
        "the onion service does not take the client authorization that tor has (F5)",
        "ask its operator for a valid key, and have onionmx onion use-key replace the one that tor has",
    )
    BAD_ADDRESS = (
        0xF6,
        "tor says the onion address is invalid (F6)",
        "correct the onion name in the record, pin or map: at least one character is wrong",
    )
    INTRODUCTION_TIMEOUT = (
        0xF7,
        "introduction to the onion service timed out (F7)",
        "try again in some minutes; the service may be overloaded, under attack or just stopped",
    )

    @property
    def reply(self) -> int | None:
        """The number of the SOCKS reply; `None` where there was no reply."""
        number = self.value[0]
        return number if isinstance(number, int) else None

    @property
    def words(self) -> str:
        """The cause for an operator."""
        words: str = self.value[1]
        return words

    @property
    def advice(self) -> str:
        """What an operator can do about it."""
        advice: str = self.value[2]
        return advice


BY_REPLY = {cause.reply: cause for cause in Cause if cause.reply is not None}
"""The causes for which SOCKS has a number."""
WITHOUT_TOR = frozenset(
    {
        Cause.PROXY_UNREACHABLE,
        Cause.HOST_UNKNOWN,
        Cause.FOREIGN,
        Cause.PROXY_SILENT,
        Cause.WRONG_SERVICE,
        Cause.CLOSED,
        Cause.NOT_ALLOWED,
        Cause.NETWORK_UNREACHABLE,
        Cause.NOT_SUPPORTED,
        Cause.ADDRESS_TYPE,
    }
)
"""Faults of this host or its tor, by which nothing is known of the onion."""


class SocksError(TemporaryError):
    """No connection to an onion.

    Attributes:
        cause: why.
        words: the cause in words, with what else was seen.
    """

    def __init__(self, endpoint: Endpoint, cause: Cause, words: str = "") -> None:
        self.cause = cause
        self.words = words or cause.words
        super().__init__(f"{format_endpoint(endpoint)}: {self.words}")
