"""What a peer offers in its response to EHLO (RFC 5321 section 4.1.1.1)."""

import re
from dataclasses import dataclass, replace

from onionmx.smtp.reply import Reply

# ehlo-line = ehlo-keyword *( SP ehlo-param ). "=" is taken for the space as well: old servers wrote AUTH=LOGIN.
_KEYWORD = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9-]*)(?:[\s=]+(.*))?", re.DOTALL)
# limit-value of MAILMAX, RCPTMAX and RCPTDOMAINMAX: %x31-39 0*5DIGIT (RFC 9422 section 4)
_LIMIT = re.compile(r"(MAILMAX|RCPTMAX|RCPTDOMAINMAX)=([1-9][0-9]{0,5})", re.IGNORECASE)
_MAX_SIZE_DIGITS = 20  # RFC 1870 section 3


@dataclass(frozen=True, slots=True)
class Extensions:
    """The extensions that matter to a client that relays.

    Attributes:
        hello: the name by which the peer calls itself, or empty.
        pipelining: RFC 2920.
        chunking: BDAT, RFC 3030.
        size: bytes that a message may have (RFC 1870); 0 for offered without a limit, `None` for not offered.
        eight_bit_mime: RFC 6152.
        smtputf8: RFC 6531.
        dsn: RFC 3461.
        starttls: RFC 3207.
        enhanced_status_codes: RFC 2034.
        pipe_connect: early pipelining, which only Exim offers.
        mail_max: transactions that a session may have, the number of the next three that LIMITS announces (RFC 9422).
        rcpt_max: recipients that a transaction may have.
        rcpt_domain_max: domains that the recipients of a transaction may have.
    """

    hello: str = ""
    pipelining: bool = False
    chunking: bool = False
    size: int | None = None
    eight_bit_mime: bool = False
    smtputf8: bool = False
    dsn: bool = False
    starttls: bool = False
    enhanced_status_codes: bool = False
    pipe_connect: bool = False
    mail_max: int | None = None
    rcpt_max: int | None = None
    rcpt_domain_max: int | None = None

    @property
    def one_flight(self) -> bool:
        """Whether a whole transaction, and several of them, can leave without waiting for a reply."""
        return self.pipelining and self.chunking

    def without_starttls(self) -> "Extensions":
        """The same, as a peer announces it under TLS."""
        return replace(self, starttls=False)

    def cover(self, others: "Extensions") -> bool:
        """Whether what may be sent to a peer that offers the others may be sent to one that offers these."""
        flags = (
            (self.pipelining, others.pipelining),
            (self.chunking, others.chunking),
            (self.eight_bit_mime, others.eight_bit_mime),
            (self.smtputf8, others.smtputf8),
            (self.dsn, others.dsn),
            (self.size is not None, others.size is not None),
        )
        limits = (
            (self.size, others.size),
            (self.rcpt_max, others.rcpt_max),
            (self.rcpt_domain_max, others.rcpt_domain_max),
        )
        return all(mine or not its for mine, its in flags) and all(
            not mine or bool(its and its <= mine) for mine, its in limits
        )


def keywords(reply: Reply) -> dict[str, list[str]]:
    """All that the response to EHLO offers: keywords in upper case, each with the parameters of its lines."""
    offered: dict[str, list[str]] = {}
    for line in reply.lines[1:]:
        if match := _KEYWORD.fullmatch(line):
            offered.setdefault(match[1].upper(), []).append((match[2] or "").strip())
    return offered


def read_extensions(reply: Reply) -> Extensions:
    """Read the response to EHLO.

    Case, spaces and unknown or malformed lines do not matter. Of several SIZE lines the smallest limit counts, as the
    only one that is safe whichever the peer means.
    """
    offered = keywords(reply)
    limits = _read_limits(offered.get("LIMITS", []))
    return Extensions(
        hello=(reply.lines[0].split() or [""])[0],
        pipelining="PIPELINING" in offered,
        chunking="CHUNKING" in offered,
        size=_read_size(offered.get("SIZE")),
        eight_bit_mime="8BITMIME" in offered,
        smtputf8="SMTPUTF8" in offered,
        dsn="DSN" in offered,
        starttls="STARTTLS" in offered,
        enhanced_status_codes="ENHANCEDSTATUSCODES" in offered,
        pipe_connect="PIPECONNECT" in offered,
        mail_max=limits.get("MAILMAX"),
        rcpt_max=limits.get("RCPTMAX"),
        rcpt_domain_max=limits.get("RCPTDOMAINMAX"),
    )


def _read_size(parameters: list[str] | None) -> int | None:
    if parameters is None:
        return None
    limits = [int(text) for text in parameters if text.isascii() and text.isdigit() and len(text) <= _MAX_SIZE_DIGITS]
    return min((limit for limit in limits if limit), default=0)


def _read_limits(parameters: list[str]) -> dict[str, int]:
    """The known limits of LIMITS lines; others and malformed ones do not matter, and the smallest counts."""
    limits: dict[str, int] = {}
    for word in " ".join(parameters).split():
        if match := _LIMIT.fullmatch(word):
            name, value = match[1].upper(), int(match[2])
            limits[name] = min(value, limits.get(name, value))
    return limits
