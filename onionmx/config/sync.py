"""Sync: what it looks at, what it remembers, and what it believes."""

from itertools import chain
from typing import Annotated, Literal

from msgspec import Meta

from onionmx.config.section import Section
from onionmx.config.store import STORE_USERS, parse_store
from onionmx.credential import check_secret
from onionmx.defaults import CONFIGURATION_DIRECTORY

STATE_NAME = "state.sqlite"
"""Beside the map, where `sync.store` names no other place."""


class SyncSection(Section, frozen=True):
    """What sync looks at, what it remembers, and what it believes."""

    domains: Annotated[
        tuple[str, ...],
        Meta(description="Files with one domain a line, asked in DNS when no list is named on the command line."),
    ] = ()
    logs: Annotated[
        tuple[str, ...],
        Meta(
            description="Mail logs of Exim or Postfix on this host, plain or by gzip, such as "
            "/var/log/exim4/mainlog*: the domains that mail went to are asked like those of the lists. Nothing but "
            "domains and counts is kept, in recipients.sqlite beside the map; where hosts share a store, the domains "
            "go there too, without counts."
        ),
    ] = ()
    logs_keep: Annotated[
        float,
        Meta(gt=0, le=3650, description="Days for which a domain of the logs stays after mail went there last."),
    ] = 365.0
    top: Annotated[
        int,
        Meta(ge=0, description="Only so many domains of the logs of each host, those with the most mail; 0 for all."),
    ] = 0
    pins: Annotated[
        str,
        Meta(
            description="File of pins, `domain onion[:port]...` or `domain none`, which override DNS; "
            "the default may be missing."
        ),
    ] = f"{CONFIGURATION_DIRECTORY}/pins"
    signers: Annotated[
        dict[str, str],
        Meta(
            description="Lists, and files for `onionmx map import`, that must be signed, each with its file of allowed "
            "signers (ssh-keygen(1)): LIST = FILE, both from the root. The signature is LIST.sig, of the namespace "
            "onionmx. One that is missing or wrong ends the run before anything is changed."
        ),
    ] = {}  # noqa: RUF012 -- msgspec makes a new one for each
    store: Annotated[
        str,
        Meta(
            description="Where sync keeps what it remembers of each domain: a file, or a Valkey or Redis server that "
            "several hosts share, valkeys://[USER@]HOST[:PORT][/DATABASE]; valkey:// without TLS on this host. Empty "
            "for the file state.sqlite beside the map.",
        ),
    ] = ""
    store_password_file: Annotated[
        str,
        Meta(
            description="File with the password of that server, which only its owner may read, or `credential:NAME` "
            "for a credential of systemd; empty for none."
        ),
    ] = ""
    store_ca_file: Annotated[
        str, Meta(description="File with the CAs for that server, in PEM; empty for those of the system.")
    ] = ""
    store_key_file: Annotated[
        str,
        Meta(
            description="File with a key that the hosts of a shared store have in common and only its owner may read, "
            "as of `openssl rand -hex 32`, or `credential:NAME`: anyone else who may write there can then make no "
            "route and no pin. Empty for none."
        ),
    ] = ""
    store_users: Annotated[
        tuple[str, ...],
        Meta(
            description="Users, by name or number, who may listen at the port of a store on this host, besides root "
            "and the one who asks: any user could while the server is down."
        ),
    ] = STORE_USERS
    trust: Annotated[
        Literal["dnssec", "tofu", "any"],
        Meta(
            description="Which records are believed. dnssec: signed ones only. tofu: the first one; a signed change at "
            "once, an unsigned one after `hold`, or when it is accepted by name. any: every one."
        ),
    ] = "tofu"
    trust_of: Annotated[
        str,
        Meta(
            description="File of `domain dnssec|tofu|any` lines, for domains that are to be treated otherwise than "
            "`trust` says; the default may be missing."
        ),
    ] = f"{CONFIGURATION_DIRECTORY}/trust"
    hold: Annotated[
        float,
        Meta(
            ge=0,
            le=365,
            description="Days for which an unsigned change of onions must be seen steadily. The old onions stay "
            "meanwhile: where they are gone, mail waits, so stay below the time after which the MTA gives up (Exim 4 "
            "days, Postfix 5).",
        ),
    ] = 3.0
    hold_removal: Annotated[
        float,
        Meta(
            ge=0,
            le=365,
            description="The same for an unsigned answer that there is no onion MX any more. A forged one would lead "
            "mail back to the open internet; if it is true and the onion is already gone, mail waits for so long.",
        ),
    ] = 2.0
    max_stale_days: Annotated[
        float,
        Meta(
            ge=0,
            le=3650,
            description="Days for which an entry stays while DNS does not answer for its domain. Mail takes the open "
            "internet afterwards.",
        ),
    ] = 30.0
    min_interval: Annotated[
        float, Meta(ge=0, le=604800, description="Seconds until a domain is asked again at least, whatever the TTL.")
    ] = 3600.0
    negative_interval: Annotated[
        float,
        Meta(
            ge=0,
            le=2592000,
            description="The same for a domain without an onion MX: how late a new one may be noticed. Of a million "
            "domains, most are such.",
        ),
    ] = 86400.0
    max_interval: Annotated[
        float, Meta(gt=0, le=2592000, description="Seconds until a domain is asked again at most, whatever the TTL.")
    ] = 604800.0
    max_removal: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Part of the map that a run may remove. What is beyond it stays until `onionmx sync --accept`, "
            "and everything else is published.",
        ),
    ] = 0.2
    min_removal: Annotated[
        int,
        Meta(ge=1, description="Fewer removals than this are never held back: a small map may lose all its entries."),
    ] = 10
    after: Annotated[
        tuple[str, ...],
        Meta(
            description="A program from the root with its arguments, as a list of words; run without a shell, by the "
            "user who runs sync and for a minute at most, when the map or one of map.exports has changed. One that "
            "fails is run again by the next sync. Empty for none."
        ),
    ] = ()
    metrics_file: Annotated[
        str, Meta(description="File for node_exporter's textfile collector, its name ending in .prom; empty for none.")
    ] = ""

    def __post_init__(self) -> None:
        """Refuse a store that cannot be, and intervals that leave no time between them."""
        for path in chain(*self.signers.items()):
            if not path.startswith("/") or not path.isprintable():
                raise ValueError(f"sync.signers: {path!r} is not the path of a file from the root, such as /etc/...")
        if self.after and (not self.after[0].startswith("/") or "\0" in "".join(self.after)):
            raise ValueError(
                f"sync.after: {self.after[0]!r} is not the path of a program from the root, such as /usr/..."
            )
        for option, named in self.secrets().items():
            check_secret(named, option)
        if self.store:
            parse_store(self.store)
        for name, least in (("min_interval", self.min_interval), ("negative_interval", self.negative_interval)):
            if least > self.max_interval:
                raise ValueError(f"sync.{name} is {least:g}, above sync.max_interval, {self.max_interval:g}")

    def secrets(self) -> dict[str, str]:
        """The secrets that are set: the option, and the file or credential that it names."""
        named = {
            "sync.store_password_file": self.store_password_file,
            "sync.store_key_file": self.store_key_file,
        }
        return {option: name for option, name in named.items() if name}
