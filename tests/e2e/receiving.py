"""Receiving MTAs for an onion service: set up as the documents have it, and each with one fault that can be named."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .exim import DEBIAN_LIKE, FRAGMENTS, HEAVY, LOCAL_SENDERS, ONION_CLIENTS, Exim
from .postfix import DOCUMENT, ONION_MX, Postfix, documented, section
from .socks import Address

DOMAIN = "receiver.example"
"""The local domain of every receiver; its users are MAILBOXES of the MTA's module."""

FAULTS: Mapping[str, str] = {
    "trusts-loopback": "it relays for 127.0.0.0/8, and so for every client of the service",
    "forward-to-localhost": "the service forwards to 127.0.0.1, where the MTA takes the client for its own host",
    "percent-hack": "it takes user%foreign@own for its own, and relays to user@foreign",
    "auth": "it offers AUTH, without TLS",
    "vrfy": "VRFY tells which users there are",
    "xclient": "the client may say that it is somebody else (Postfix only; Exim 4.96 does not know XCLIENT)",
}
"""The faults, and what each means. Nothing else is wrong with the receiver that has one."""

RIGHT = ("exim", "postfix")
"""Names of receivers without fault."""
CIRCUITS = ("exim-circuits", "postfix-circuits")
"""Names of receivers without fault that expect a PROXY line."""
WRONG = tuple(f"{mta}-{fault}" for mta in RIGHT for fault in FAULTS if (mta, fault) != ("exim", "xclient"))
"""Names of receivers with a fault: `MTA-FAULT`."""


@dataclass(frozen=True)
class Receiver:
    """A receiving MTA that runs.

    Args:
        name: one of RIGHT, CIRCUITS or WRONG.
        domain: its local domain.
        forward: where the onion service is to hand its connections.
        fault: what is wrong with it: a key of FAULTS, or None.
        proxy_protocol: whether it expects PROXY lines: the service then needs `HiddenServiceExportCircuitID haproxy`.
        mta: the server itself, for its log and mailboxes.
    """

    name: str
    domain: str
    forward: Address
    fault: str | None
    proxy_protocol: bool
    mta: Exim | Postfix


@contextmanager
def receiver(name: str, folder: Path) -> Iterator[Receiver]:
    """Run a receiver.

    Args:
        name: one of RIGHT, CIRCUITS or WRONG.
        folder: a new folder for everything of it.
    """
    mta, _, variant = name.partition("-")
    host = LOCAL_SENDERS if variant == "forward-to-localhost" else ONION_CLIENTS
    fault = variant if variant in FAULTS else None
    server = exim_receiver(folder, variant) if mta == "exim" else postfix_receiver(folder, variant)
    with server:
        yield Receiver(name, DOMAIN, (host, server.port), fault, variant == "circuits", server)


RECEIVING = "main/00_onionmx_receiving"
NO_PASSWORDS = "auth_advertise_hosts =\n"
EXIM_PARTS: Mapping[str, Mapping[str, str]] = {
    # Without the fragment: what it sets stays as Debian has it.
    "trusts-loopback": {RECEIVING: f"MAIN_ACL_CHECK_RCPT = acl_check_rcpt\nMAIN_HOST_LOOKUP = *\n{NO_PASSWORDS}"},
    "percent-hack": {
        "router/100_percent": """
percent:
  driver = redirect
  domains = +local_domains
  local_parts = ^.*%
  data = ${sg{$local_part}{\\N%([^%]*)\\N}{@\\$1}}
"""
    },
    "auth": {RECEIVING: (FRAGMENTS / RECEIVING).read_text().replace("{}{ONIONMX_AUTH_HOSTS}", "{*}{}")},
    "vrfy": {"main/50_vrfy": "acl_smtp_vrfy = acl_vrfy\n", "acl/50_vrfy": "acl_vrfy:\n  accept\n"},
}


def exim_receiver(folder: Path, variant: str = "") -> Exim:
    """Write the configuration of an Exim with the fragments of `exim/conf.d`, and one fault or `circuits`."""
    macros = {"ONIONMX_AUTH_HOSTS": ""}
    if variant == "percent-hack":
        macros["CHECK_RCPT_LOCAL_LOCALPARTS"] = "^[.]"
    if variant == "circuits":
        macros["ONIONMX_CIRCUIT_ID"] = "haproxy"
    program = HEAVY if variant == "circuits" else None
    return Exim(folder, DOMAIN, macros, DEBIAN_LIKE | dict(EXIM_PARTS.get(variant, {})), program)


CIRCUIT_OPTIONS = documented(section(DOCUMENT.read_text(), "The circuit as the client's address"), {})
POSTFIX_MAIN: Mapping[str, str] = {
    "trusts-loopback": "mynetworks = 127.0.0.0/8\ndisable_vrfy_command = yes\n",
    "forward-to-localhost": "disable_vrfy_command = yes\n",
    # Postfix itself judges such an address by where it leads, under any restriction; an alias can still resolve it.
    "percent-hack": "allow_percent_hack = no\nvirtual_alias_maps = regexp:$meta_directory/aliases\n",
}
POSTFIX_OPTIONS: Mapping[str, str] = {
    "circuits": CIRCUIT_OPTIONS["/etc/postfix/master.cf"],
    "percent-hack": "  -o allow_untrusted_routing=yes\n",
    "auth": "  -o smtpd_sasl_auth_enable=yes\n",
    "vrfy": "  -o disable_vrfy_command=no\n",
    "xclient": "  -o smtpd_authorized_xclient_hosts=127.0.0.0/8\n",
}
PERCENT_ALIAS = f"/^(.*)%(.*)@{DOMAIN}$/ $1@$2\n"
UNPROTECTED = ONION_CLIENTS + ":{port} inet n - n - - smtpd\n"
"""What answers on that address where nobody has thought of it: the service for everybody."""


def postfix_receiver(folder: Path, variant: str = "") -> Postfix:
    """Write the configuration of a Postfix as `docs/receiving.md` has it, and one fault or `circuits`."""
    service = UNPROTECTED if variant == "trusts-loopback" else ONION_MX
    options = POSTFIX_OPTIONS.get(variant, "")
    receiving = f"{service.rstrip()}\n{options}"
    postfix = Postfix(folder, DOMAIN, POSTFIX_MAIN.get(variant, ""), receiving=receiving)
    (postfix.configuration / "aliases").write_text(PERCENT_ALIAS)
    return postfix
