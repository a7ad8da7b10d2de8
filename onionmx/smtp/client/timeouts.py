"""How long the peer may be silent at each point (RFC 5321 section 4.5.3.2)."""

from dataclasses import dataclass

from onionmx.smtp.client.pipeline import Stage

NO_TIME = "no time is left"
"""The cause of an end by the deadline of a delivery, not by the silence of the peer."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; the defaults are those of RFC 5321, upper bounds beside the deadline that each delivery has.

    They count from the reply before, or from the last bytes that the connection took, so a reply that trickles in
    gets no longer.

    Attributes:
        greeting: for the greeting, and for the TLS handshake.
        command: for EHLO, MAIL, RCPT and all other commands.
        data: for the reply to DATA.
        block: for the connection to take more of the message.
        end: for the final reply, when the whole message was sent.
        quit: for the reply to QUIT, on which nothing depends.
    """

    greeting: float = 300.0
    command: float = 300.0
    data: float = 120.0
    block: float = 180.0
    end: float = 600.0
    quit: float = 5.0

    def for_stage(self, stage: Stage) -> float:
        """The limit for the reply to this command."""
        match stage:
            case Stage.GREETING:
                return self.greeting
            case Stage.DATA:
                return self.data
            case Stage.CHUNK | Stage.END:
                return self.end
            case Stage.QUIT:
                return self.quit
            case _:
                return self.command
