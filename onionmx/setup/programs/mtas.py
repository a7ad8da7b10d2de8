"""Which MTA handles the mail of a host, by what each is known, and what to read for one setup does not know; no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onionmx.setup.programs import exim, opensmtpd, postfix
from onionmx.setup.programs.wishes import Mta

SENDMAIL = "/usr/sbin/sendmail"
PAGE = "docs/other-mtas.md"
_FILES = f"onionmx files {PAGE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MtaSigns:
    """By what an MTA is known.

    Attributes:
        name: as its authors write it; that of its section in `PAGE`.
        programs: paths, of which any one will do.
        settings: a file that it cannot do without; empty for none.
        sendmail: what `SENDMAIL` leads to where this MTA has brought it; empty where it brings none.
        units: that run it, in releases and packages of any age.
        mta: name among the options; `None` where setup does not set it up.
        lacks: why it cannot hand mail to the relay; empty for one that can.
    """

    name: str
    programs: tuple[str, ...] = ()
    settings: str = ""
    sendmail: str = ""
    units: tuple[str, ...] = ()
    mta: Mta | None = None
    lacks: str = ""


_NO_QUEUE = "has no queue, in which mail would wait for an onion"
_NO_ROUTES = "sends all mail to one place, and cannot send some of it to the relay"
MTAS = (
    MtaSigns(
        name="Exim",
        programs=(exim.PROGRAM,),
        settings=exim.SETTINGS,
        sendmail=exim.PROGRAM,
        units=("exim4.service",),
        mta="exim",
    ),
    MtaSigns(
        name="Postfix",
        programs=(postfix.PROGRAM,),
        settings=postfix.MAIN,
        sendmail=SENDMAIL,
        units=("postfix.service",),
        mta="postfix",
    ),
    MtaSigns(
        name="OpenSMTPD",
        programs=(opensmtpd.PROGRAM,),
        settings=opensmtpd.CONF,
        sendmail=opensmtpd.PROGRAM,
        units=(opensmtpd.UNIT,),
        mta="opensmtpd",
    ),
    MtaSigns(
        name="Sendmail",
        programs=("/usr/libexec/sendmail/sendmail", "/usr/lib/sm.bin/sendmail"),
        sendmail="/usr/libexec/sendmail/sendmail",
        units=("sendmail.service",),
    ),
    MtaSigns(
        name="Courier",
        programs=("/usr/sbin/courier",),
        sendmail=SENDMAIL,
        units=("courier.service", "courier-mta.service"),
    ),
    MtaSigns(name="chasquid", programs=("/usr/bin/chasquid", "/usr/local/bin/chasquid"), units=("chasquid.service",)),
    MtaSigns(name="Haraka", programs=("/usr/bin/haraka", "/usr/local/bin/haraka"), units=("haraka.service",)),
    MtaSigns(name="mox", programs=("/home/mox/mox", "/usr/local/bin/mox"), units=("mox.service",)),
    MtaSigns(
        name="Stalwart",
        programs=("/opt/stalwart/bin/stalwart", "/opt/stalwart-mail/bin/stalwart-mail", "/usr/local/bin/stalwart"),
        units=("stalwart.service", "stalwart-mail.service"),
    ),
    MtaSigns(name="maddy", programs=("/usr/bin/maddy", "/usr/local/bin/maddy"), units=("maddy.service",)),
    MtaSigns(
        name="notqmail",
        programs=("/var/qmail/bin/qmail-send",),
        sendmail="/var/qmail/bin/sendmail",
        units=("qmail.service", "notqmail.service"),
    ),
    # A program for one user may have put these here: what says that they are the host's MTA is sendmail.
    MtaSigns(name="msmtp", sendmail="/usr/bin/msmtp", lacks=_NO_QUEUE),
    MtaSigns(name="ssmtp", sendmail="/usr/sbin/ssmtp", lacks=_NO_QUEUE),
    MtaSigns(name="esmtp", sendmail="/usr/bin/esmtp", lacks=_NO_QUEUE),
    MtaSigns(name="dma", sendmail="/usr/sbin/dma", lacks=_NO_ROUTES),
    MtaSigns(name="nullmailer", programs=("/usr/sbin/nullmailer-send",), sendmail=SENDMAIL, lacks=_NO_ROUTES),
)


def owners(there: Sequence[MtaSigns], sendmail: str) -> list[MtaSigns]:
    """Those that may have brought `SENDMAIL`; none where there is no such file, or somebody else has made it.

    Args:
        there: MTAs on this host.
        sendmail: what it leads to; empty where it is not there.
    """
    return [signs for signs in there if sendmail and signs.sendmail == sendmail]


def handling_mail(there: Sequence[MtaSigns], running: Mapping[str, bool | None], sendmail: str) -> tuple[MtaSigns, ...]:
    """Of the MTAs on a host, that which handles its mail; several where it cannot be told.

    One that runs goes before one that does not, and where none is seen running, that to which `SENDMAIL` leads goes
    before others. What only hands mail on, for the programs of a host, does so beside an MTA too.

    Args:
        there: MTAs on this host.
        running: by name; `None` where it could not be told.
        sendmail: what `SENDMAIL` leads to; empty where it is not there.
    """
    found = [signs for signs in there if not signs.lacks] or list(there)
    if any(running.get(signs.name) for signs in found):
        found = [signs for signs in found if running.get(signs.name) is not False]
    else:
        found = owners(found, sendmail) or found
    return tuple(found)


def names(found: Sequence[MtaSigns]) -> str:
    """Their names, as in a sentence."""
    return " and ".join(signs.name for signs in found)


def reading(found: Sequence[MtaSigns]) -> str:
    """Where it is written what setup does not do.

    Args:
        found: at least one, each without a `mta`.
    """
    sections = " and ".join(f'"{signs.name}"' for signs in found)
    return f"read {sections} in {PAGE} ({_FILES})"


def where_to_read(found: Sequence[MtaSigns]) -> str:
    """What to do on a host whose mail is handled by an MTA that setup does not know.

    Args:
        found: at least one, each without a `mta`.
    """
    handle = "handles" if len(found) == 1 else "handle"
    start = f"{names(found)} {handle} the mail of this host"
    lacks = " and ".join(dict.fromkeys(signs.lacks for signs in found if signs.lacks))
    if lacks:
        return f"{start}, and {lacks}: install Exim or Postfix, or an MTA of {PAGE} ({_FILES})"
    return f"{start}, which setup does not know: {reading(found)}"
