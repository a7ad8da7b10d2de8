"""What the administrator wants; remembered, so that the next run need not be told again."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from onionmx.config import parse_nameserver
from onionmx.domain import normalize
from onionmx.errors import OnionmxError, UsageError

Mta = Literal["exim", "postfix", "opensmtpd"]
EximWay = Literal["relay", "helper", "readsocket"]
PostfixWay = Literal["table", "socketmap"]


class SetupOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted; `None` where nobody has said it yet."""

    domains: Annotated[tuple[str, ...], Meta(description="Mail domains of this host, in normal form.")] = ()
    send: Annotated[bool | None, Meta(description="Send over Tor.")] = None
    receive: Annotated[bool | None, Meta(description="Receive over Tor.")] = None
    mta: Mta | None = None
    exim: EximWay = "relay"
    postfix: PostfixWay = "table"
    lists: Annotated[tuple[str, ...], Meta(description="Absolute paths of domain lists for sync.")] = ()
    logs: Annotated[
        bool | None, Meta(description="Take domains from the MTA's logs; None: where there are no lists.")
    ] = None
    publish_to: Annotated[str, Meta(description="Name server that takes updates; empty to print the record.")] = ""
    tsig_file: str = ""

    @property
    def way(self) -> str:
        """How mail goes from the MTA to Tor."""
        return {"exim": self.exim, "postfix": self.postfix}.get(self.mta or "", "list")

    @property
    def uses_relay(self) -> bool:
        """Whether the MTA hands mail to the relay."""
        return bool(self.send) and (self.mta != "exim" or self.exim == "relay")

    @property
    def uses_serve(self) -> bool:
        """Whether the MTA asks the lookup daemon."""
        return bool(self.send) and self.way in ("socketmap", "readsocket")

    @property
    def uses_list(self) -> bool:
        """Whether the MTA reads a plain list of domains."""
        return bool(self.send) and self.mta == "opensmtpd"

    @property
    def uses_virtual_addresses(self) -> bool:
        """Whether the MTA connects by itself, to addresses of Tor's DNSPort."""
        return bool(self.send) and self.mta == "exim" and self.exim != "relay"


_PRIVATE = ("/root/", "/home/", "/run/user/")
"""What `ProtectHome=` hides from the unit of sync (systemd.exec(5))."""


def checked(wishes: SetupOptions) -> SetupOptions:
    """The wishes with domains in normal form.

    Raises:
        UsageError: something is impossible.
    """
    domains = []
    for text in wishes.domains:
        try:
            domains.append(normalize(text))
        except OnionmxError as error:
            raise UsageError(f"--domain {text}: {error}") from error
    for path in (*wishes.lists, *([wishes.tsig_file] if wishes.tsig_file else [])):
        if not path.startswith("/") or not path.isprintable():
            raise UsageError(f"{path!r}: expected an absolute path")
    for path in wishes.lists:
        if path.startswith(_PRIVATE):
            raise UsageError(
                f"--lists {path}: the timer's sync may not read what is below {', '.join(_PRIVATE)}: put it into "
                "/etc/onionmx, readable for all"
            )
    if wishes.publish_to:
        try:
            parse_nameserver(wishes.publish_to)
        except ValueError as error:
            raise UsageError(f"--publish-to: {error}") from error
    if wishes.send is False and wishes.receive is False:
        raise UsageError("neither sending nor receiving: say --send, --receive or both; to take all back, --undo")
    return msgspec.structs.replace(wishes, domains=tuple(dict.fromkeys(domains)))


def missing(wishes: SetupOptions, found: tuple[Mta, ...]) -> str | None:
    """The option for what setup cannot know and nobody has said; `None` where all is said.

    Args:
        wishes: as far as they are known.
        found: the MTAs on this machine.
    """
    if not wishes.domains:
        return "--domain DOMAIN, a mail domain of this host; once for each"
    if wishes.send is None and wishes.receive is None:
        return "--send, --receive or both"
    if wishes.mta is None and len(found) != 1:
        return " or ".join(f"--mta {mta}" for mta in found)
    return None
