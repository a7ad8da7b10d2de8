"""The states of a session, as a table that is checked before anything else is done.

    state      step          next
    GREETING   greeted       EHLO
    GREETING   refused       QUITTING
    EHLO       accepted      READY
    EHLO       asked         ASKING
    EHLO       unknown       HELO
    EHLO       tls wanted    STARTTLS
    EHLO       refused       QUITTING
    HELO       accepted      READY
    HELO       refused       QUITTING
    STARTTLS   tls granted   HANDSHAKE
    STARTTLS   tls declined  READY
    STARTTLS   asked         ASKING
    STARTTLS   refused       QUITTING
    HANDSHAKE  tls started   EHLO
    ASKING     accepted      READY
    READY      tls wanted    STARTTLS
    READY      quit          QUITTING

    any state but the last two: ended -> CLOSED, out of step -> BROKEN

Transactions happen in READY; their phases are in `transaction.py`.
"""

from enum import Enum


class TlsPolicy(Enum):
    """When to start TLS. A peer that demands it (530 to MAIL) gets it under each of them.

    The default of the relay is `NEVER`: the onion service already encrypts the way to the peer and proves its name,
    and TLS on top costs two round trips and proves nothing, for no authority vouches for the name.
    """

    NEVER = "never"
    OPPORTUNISTIC = "opportunistic"
    REQUIRE = "require"


class Chunks(Enum):
    """Whether to send content with BDAT where the peer offers CHUNKING.

    A peer has to read the octets of a BDAT that it refuses (RFC 3030 section 2). One that does not takes the lines of
    a message for commands, so that has to be known before any content leaves together with its RCPT.
    """

    USE = "use"  # the peer was seen to do it
    ASK = "ask"  # see first: by a BDAT outside of a transaction, with RSET behind it
    AVOID = "avoid"


class State(Enum):
    """Where a session stands."""

    GREETING = "greeting"
    EHLO = "ehlo"
    HELO = "helo"
    STARTTLS = "starttls"
    HANDSHAKE = "handshake"
    ASKING = "asking"
    READY = "ready"
    QUITTING = "quitting"
    CLOSED = "closed"
    BROKEN = "broken"


class Step(Enum):
    """What moves a session."""

    GREETED = "greeted"
    ACCEPTED = "accepted"
    ASKED = "asked"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    TLS_WANTED = "tls wanted"
    TLS_GRANTED = "tls granted"
    TLS_DECLINED = "tls declined"
    TLS_STARTED = "tls started"
    QUIT = "quit"
    ENDED = "ended"
    OUT_OF_STEP = "out of step"


_OVER: dict[Step, State] = {Step.ENDED: State.CLOSED, Step.OUT_OF_STEP: State.BROKEN}

MOVES: dict[State, dict[Step, State]] = {
    State.GREETING: {Step.GREETED: State.EHLO, Step.REFUSED: State.QUITTING, **_OVER},
    State.EHLO: {
        Step.ACCEPTED: State.READY,
        Step.ASKED: State.ASKING,
        Step.UNKNOWN: State.HELO,
        Step.TLS_WANTED: State.STARTTLS,
        Step.REFUSED: State.QUITTING,
        **_OVER,
    },
    State.HELO: {Step.ACCEPTED: State.READY, Step.REFUSED: State.QUITTING, **_OVER},
    State.STARTTLS: {
        Step.TLS_GRANTED: State.HANDSHAKE,
        Step.TLS_DECLINED: State.READY,
        Step.ASKED: State.ASKING,
        Step.REFUSED: State.QUITTING,
        **_OVER,
    },
    State.HANDSHAKE: {Step.TLS_STARTED: State.EHLO, **_OVER},
    State.ASKING: {Step.ACCEPTED: State.READY, **_OVER},
    State.READY: {Step.TLS_WANTED: State.STARTTLS, Step.QUIT: State.QUITTING, **_OVER},
    State.QUITTING: {**_OVER},
    State.CLOSED: {},
    State.BROKEN: {},
}
