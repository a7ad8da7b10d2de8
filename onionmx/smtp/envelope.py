"""Sender, recipients and parameters of a message, as MAIL and RCPT commands.

RFC 5321 section 4.1.1.2 and 4.1.1.3, SIZE of RFC 1870, BODY of RFC 6152, SMTPUTF8 of RFC 6531, and RET, ENVID, NOTIFY
and ORCPT of RFC 3461.

A peer without DSN gets no DSN parameters (RFC 3461 section 5.2.2), for a message that arrives counts for more than the
reports about it. For the same reason `clean_envid` and `clean_orcpt` correct what senders get wrong in the two, or
leave it out. Without DSN, NOTIFY=NEVER no longer holds beyond this hop: if the peer accepts the message and fails
later, its ordinary bounce goes to the sender. Sending such messages with the sender `<>` would silence the reports of
the other recipients too, so it is not done.
"""

import re
from typing import Literal

from msgspec import Struct

from onionmx.domain import shown
from onionmx.smtp.extensions import Extensions
from onionmx.smtp.faults import EnvelopeError
from onionmx.smtp.reply import OurReply, Reply

MAX_HELLO_LENGTH = 256
"""Characters of the name in EHLO: RFC 5321 section 4.5.3.1.2."""

MAX_MAILBOX_LENGTH = 1000
"""Bytes of a mailbox. RFC 5321 section 4.5.3.1.3 says 254; MTAs pass longer ones, and leave the judgement to the peer.
With it and all parameters a command stays under the 2048 bytes that Postfix reads."""

MAX_ENVID_LENGTH = 100
"""Characters in ENVID before encoding (RFC 3461 section 4.4), so up to three times as many in xtext."""

MAX_ORCPT_LENGTH = 500
"""Characters in ORCPT (RFC 3461 section 4.2)."""

MAX_SIZE = 10**20 - 1
"""Bytes: the largest number that SIZE and BDAT can say (RFC 1870 section 3, RFC 3030 section 2)."""

Body = Literal["7BIT", "8BITMIME"]
Return = Literal["", "FULL", "HDRS"]

# Local-part = Dot-string / Quoted-string. The content of a Dot-string is left to the two mail servers, but for what
# would end the path or begin another argument. A quoted pair may be any printable character (RFC 5321 section 4.1.2).
# A backslash outside of quotes and raw bytes above 127 are no mailbox by any RFC, but mail from old systems has them.
_UTF8 = "\u00a1-\ud7ff\ue000-\U0010ffff"  # above the controls and the no-break space; RFC 6531 section 3.3
_RAW = "\udc80-\udcff"  # bytes that are not UTF-8, as "surrogateescape" has them
_ATOM = rf"[!#-;=?A-~{_UTF8}{_RAW}]"  # printable but for space, ", <, > and @
_QUOTED = rf'"(?:[ !#-\[\]-~{_UTF8}{_RAW}]|\\[ -~])*"'
_MAILBOX = re.compile(rf"(?:{_QUOTED}|{_ATOM}+)@(?:\[[!-;=?-Z^-~]+\]|[A-Za-z0-9_{_UTF8}][A-Za-z0-9._\-{_UTF8}]*)")

# xtext = *( xchar / hexchar ); xchar is printable ASCII but for "+" and "=", hexchar "+" 2HEXDIG (RFC 3461 section 4)
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_ENVID = re.compile(rf"{_XTEXT}+")
# ORCPT is addr-type ";" xtext; RFC 6533 section 3 adds \x{...} and raw UTF-8 for the type utf-8.
_ORCPT = re.compile(rf"(?i:utf-8);[!-~{_UTF8}]+|[A-Za-z0-9-]+;{_XTEXT}+")
_NOTIFY = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}", re.IGNORECASE)


class Recipient(Struct, frozen=True):
    """A recipient with its DSN parameters.

    Attributes:
        address: the mailbox without angle brackets.
        notify: NEVER, or some of SUCCESS, FAILURE and DELAY joined by commas; empty for not given.
        orcpt: the original recipient, `rfc822;` and xtext; empty for not given.

    Raises:
        EnvelopeError: one of them cannot be put on the wire.
    """

    address: str
    notify: str = ""
    orcpt: str = ""

    def __post_init__(self) -> None:
        if self.address.lower() != "postmaster":  # RFC 5321 section 4.1.1.3: the one without a domain
            _check_mailbox(self.address)
        if self.notify and not _NOTIFY.fullmatch(self.notify):
            raise EnvelopeError(f"{shown(self.notify)} is not a value of NOTIFY")
        if self.orcpt and (len(self.orcpt) > MAX_ORCPT_LENGTH or not _ORCPT.fullmatch(self.orcpt)):
            raise EnvelopeError(f"{shown(self.orcpt)} is not a value of ORCPT: expected TYPE;XTEXT")

    @property
    def is_international(self) -> bool:
        """Whether the address has characters that only RFC 6531 allows."""
        return _is_international(self.address)

    def command(self, extensions: Extensions) -> bytes:
        """The RCPT command with the parameters that the peer allows, with its CRLF."""
        line = f"RCPT TO:<{self.address}>"
        if extensions.dsn:
            line += f" NOTIFY={self.notify}" if self.notify else ""
            # Raw UTF-8 in ORCPT needs SMTPUTF8; the parameter only serves reports, so it goes rather than the message.
            orcpt_fits = self.orcpt.isascii() or extensions.smtputf8
            line += f" ORCPT={self.orcpt}" if self.orcpt and orcpt_fits else ""
        return line.encode("utf-8", "surrogateescape") + b"\r\n"


class Envelope(Struct, frozen=True):
    """All of a transaction but the message itself.

    Attributes:
        sender: the mailbox without angle brackets; empty for the null reverse-path.
        recipients: those known from the start; a transaction can get more.
        body: 8BITMIME where the message has bytes above 127. A message that was declared so and has none may be
            given as 7BIT, which any peer takes.
        smtputf8: whether the message needs RFC 6531, for example in its header: the sender said so. A non-ASCII address
            without it goes to any peer as it is, for the peer to judge, as other MTAs send it.
        ret: FULL or HDRS; empty for not given.
        envid: xtext; empty for not given.
        size: bytes of the message with CRLF line ends; `None` where it is not known yet.

    Raises:
        EnvelopeError: one of them cannot be put on the wire.
    """

    sender: str
    recipients: tuple[Recipient, ...] = ()
    body: Body = "7BIT"
    smtputf8: bool = False
    ret: Return = ""
    envid: str = ""
    size: int | None = None

    def __post_init__(self) -> None:
        if self.sender:
            _check_mailbox(self.sender)
        if self.body not in {"7BIT", "8BITMIME"}:
            raise EnvelopeError(f"{shown(self.body)} is not a value of BODY: expected 7BIT or 8BITMIME")
        if self.ret not in {"", "FULL", "HDRS"}:
            raise EnvelopeError(f"{shown(self.ret)} is not a value of RET: expected FULL or HDRS")
        if self.envid and (len(self.envid) > 3 * MAX_ENVID_LENGTH or not _ENVID.fullmatch(self.envid)):
            raise EnvelopeError(f"{shown(self.envid)} is not a value of ENVID: expected xtext")
        if self.size is not None and not 0 <= self.size <= MAX_SIZE:
            raise EnvelopeError(f"{self.size} is not the size of a message")

    @property
    def uses_smtputf8(self) -> bool:
        """Whether the message is declared as one of RFC 6531 to a peer that knows it."""
        recipients = any(one.is_international for one in self.recipients)
        return self.smtputf8 or _is_international(self.sender) or recipients

    def refusal(self, extensions: Extensions) -> Reply | None:
        """What to tell the MTA if the peer lacks something that the message needs, before anything is sent.

        Whether it needs 8BITMIME is told by its content alone, see `refusal_of`: most that are declared so are ASCII.
        """
        if self.smtputf8 and not extensions.smtputf8:
            return OurReply.NO_SMTPUTF8.value
        return None if self.size is None else _refusal_of_size(self.size, extensions)

    def refusal_of(self, content: bytes, extensions: Extensions, before: int = 0) -> Reply | None:
        """What to tell the MTA if the peer cannot be given these bytes of the message (RFC 6152 section 3, RFC 1870).

        Args:
            content: the bytes.
            extensions: what the peer offers.
            before: bytes of the message in front of them, by `least_size`.
        """
        if self.body == "8BITMIME" and not extensions.eight_bit_mime and not content.isascii():
            return OurReply.NO_8BITMIME.value
        return _refusal_of_size(before + least_size(content), extensions)

    def command(self, extensions: Extensions) -> bytes:
        """The MAIL command with the parameters that the peer allows, with its CRLF."""
        line = f"MAIL FROM:<{self.sender}>"
        if extensions.size is not None and self.size is not None:
            line += f" SIZE={self.size}"
        if extensions.eight_bit_mime and self.body == "8BITMIME":
            line += " BODY=8BITMIME"
        if extensions.smtputf8 and self.uses_smtputf8:
            line += " SMTPUTF8"
        if extensions.dsn:
            line += f" RET={self.ret}" if self.ret else ""
            line += f" ENVID={self.envid}" if self.envid else ""
        return line.encode("utf-8", "surrogateescape") + b"\r\n"


def least_size(content: bytes) -> int:
    """How many bytes they are by the count of any server: Exim counts a line end as one, RFC 1870 as two."""
    return len(content) - content.count(b"\r")


def _refusal_of_size(size: int, extensions: Extensions) -> Reply | None:
    """What to tell the MTA of a message that has so many bytes, or more."""
    if not extensions.size or size <= extensions.size:
        return None
    too_large = OurReply.TOO_LARGE.value
    return too_large.with_text(f"{too_large.text}: its limit is {extensions.size} bytes")


# hello-argument: a Domain or an address-literal (RFC 5321 section 4.1.3), told apart no further.
_HELLO = re.compile(r"\[[A-Za-z0-9.:]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")


def check_hello(name: str) -> str:
    """Check the name for EHLO.

    Raises:
        EnvelopeError: neither a host name nor an address in brackets.
    """
    if not _HELLO.fullmatch(name) or len(name) > MAX_HELLO_LENGTH:
        raise EnvelopeError(f"{shown(name)} cannot be said in EHLO: expected a host name or an address in brackets")
    return name


def _check_mailbox(address: str) -> None:
    if address.startswith("@"):
        raise EnvelopeError(f"{shown(address)} has a source route, which nobody follows any more (RFC 5321 appendix C)")
    length = len(address.encode("utf-8", "surrogatepass"))
    if length > MAX_MAILBOX_LENGTH:
        raise EnvelopeError(f"{shown(address)} has {length} bytes: at most {MAX_MAILBOX_LENGTH} can be sent on")
    if not _MAILBOX.fullmatch(address):
        raise EnvelopeError(f"{shown(address)} is not a mailbox: expected LOCAL-PART@DOMAIN")


def _is_international(address: str) -> bool:
    """Whether it is UTF-8 that is not ASCII; raw bytes are of no character set that SMTP has a name for."""
    return not address.isascii() and not _RAW_BYTE.search(address)


_RAW_BYTE = re.compile(f"[{_RAW}]")
_XTEXT_PIECE = re.compile(r"\+[0-9A-Fa-f]{2}|.", re.DOTALL)


def clean_envid(value: str) -> str:
    """The value of ENVID as it may be sent on, corrected; empty for what cannot be."""
    envid = _clean_xtext(value)
    return envid if _ENVID.fullmatch(envid) and len(envid) <= 3 * MAX_ENVID_LENGTH else ""


def clean_orcpt(value: str, *, smtputf8: bool) -> str:
    """The value of ORCPT as it may be sent on, corrected; empty for what cannot be.

    Args:
        value: as the sender wrote it.
        smtputf8: whether the message may have addresses of RFC 6531.
    """
    kind, _, address = value.partition(";")
    is_raw = smtputf8 and kind.lower() == "utf-8"  # RFC 6533 section 3
    orcpt = value if is_raw else f"{kind};{_clean_xtext(address)}"
    return orcpt if _ORCPT.fullmatch(orcpt) and len(orcpt) <= MAX_ORCPT_LENGTH else ""


def _clean_xtext(text: str) -> str:
    """What was meant: hexadecimal digits in upper case, a bare "+" or "=" encoded (RFC 3461 section 4)."""

    def correct(found: re.Match[str]) -> str:
        piece = found[0]
        return piece.upper() if len(piece) > 1 else f"+{ord(piece):02X}" if piece in "+=" else piece

    return _XTEXT_PIECE.sub(correct, text)
