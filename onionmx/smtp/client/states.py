"""The states of a session, as a table that is checked before anything else is done.

    state      step          next
    EARLY      accepted      READY
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

Transactions happen in READY, and the first one in EARLY where the peer is remembered; their phases are in
`transaction.py`.
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


class Early(Enum):
    """What is sent to a peer whose extensions are remembered before it has said them again.

    What it says then is compared with what was remembered. Exim announces that it takes input before its greeting;
    whether another peer takes a transaction right behind EHLO, which RFC 2920 section 3.1 does not allow, only a try
    shows: Postfix 3.7 does, 3.9 and later end the session.
    """

    NOTHING = "nothing"
    AFTER_GREETING = "EHLO and a transaction, after the greeting"
    AT_ONCE = "EHLO and a transaction, without waiting for the greeting"


class State(Enum):
    """The state of a session."""

    EARLY = "early"  # EHLO was sent early and is not answered; a transaction may have been sent too
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


class Transition(Enum):
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


_OVER: dict[Transition, State] = {Transition.ENDED: State.CLOSED, Transition.OUT_OF_STEP: State.BROKEN}

MOVES: dict[State, dict[Transition, State]] = {
    State.EARLY: {Transition.ACCEPTED: State.READY, **_OVER},
    State.GREETING: {Transition.GREETED: State.EHLO, Transition.REFUSED: State.QUITTING, **_OVER},
    State.EHLO: {
        Transition.ACCEPTED: State.READY,
        Transition.ASKED: State.ASKING,
        Transition.UNKNOWN: State.HELO,
        Transition.TLS_WANTED: State.STARTTLS,
        Transition.REFUSED: State.QUITTING,
        **_OVER,
    },
    State.HELO: {Transition.ACCEPTED: State.READY, Transition.REFUSED: State.QUITTING, **_OVER},
    State.STARTTLS: {
        Transition.TLS_GRANTED: State.HANDSHAKE,
        Transition.TLS_DECLINED: State.READY,
        Transition.ASKED: State.ASKING,
        Transition.REFUSED: State.QUITTING,
        **_OVER,
    },
    State.HANDSHAKE: {Transition.TLS_STARTED: State.EHLO, **_OVER},
    State.ASKING: {Transition.ACCEPTED: State.READY, **_OVER},
    State.READY: {Transition.TLS_WANTED: State.STARTTLS, Transition.QUIT: State.QUITTING, **_OVER},
    State.QUITTING: {**_OVER},
    State.CLOSED: {},
    State.BROKEN: {},
}
