"""Exim and Postfix as the receivers of the relay, over a private Tor network.

LMTP ── onionmx relay ── what writes down all that passes ── tor ── onion service ── Exim or Postfix
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.net.certificates import issue

from .as_receiver.desk import Desk
from .as_receiver.opening import announces, demands_tls, starts_tls
from .as_receiver.peer import USERS, Copy, Peer
from .as_receiver.proof import prove
from .as_receiver.wire import recorded
from .conftest import skip_without
from .exim import DEBIAN_LIKE, ONION_CLIENTS, Exim
from .exim_tls import EximWithTls
from .postfix import ONION_MX, Postfix
from .receiving import DOMAIN
from .tor_network import TorNetwork

pytestmark = pytest.mark.skipif(bool(os.geteuid()), reason="Postfix's master runs as root only")

SIZE = 2_000_000
"""Bytes: more than the relay keeps of a message (`relay.keep_limit`), so that larger ones are sent as they come."""
MESSAGES = 40
"""In a session, for an MTA that has such a limit."""
DEFERRED = "later"

CERTIFICATE = issue(DOMAIN)

EXIM_DEFERS = {
    "router/100_later": f"""
later:
  driver = redirect
  domains = +local_domains
  local_parts = {DEFERRED}
  allow_defer
  data = :defer: try again later
"""
}
EXIM_AS_DEBIAN = {"main/50_debian": "smtputf8_advertise_hosts =\n"}
"""What Debian's configuration sets, of what is announced."""
EXIM_LIMITS = {"main/60_limits": f"message_size_limit = {SIZE}\nsmtp_accept_max_per_connection = {MESSAGES}\n"}
EXIM_MACROS = {"MAILBOXES": " : ".join(USERS), "ONIONMX_AUTH_HOSTS": ""}

MAILBOXES = " ".join(f"{{ {user}@{DOMAIN} = {user}/ }}" for user in USERS)
POSTFIX_MAILBOXES = f"virtual_mailbox_maps = inline:{{ {MAILBOXES} }}\n"
POSTFIX_MAIN = (
    f"{POSTFIX_MAILBOXES}message_size_limit = {SIZE}\nsmtpd_error_sleep_time = 0\n"
    f"later = check_recipient_access inline:{{ {DEFERRED}@{DOMAIN}=DEFER }}, reject_unlisted_recipient\n"
)
POSTFIX_DEFERS = "  -o smtpd_recipient_restrictions=$later\n"
POSTFIX_TLS = "smtpd_tls_security_level = encrypt\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n"


def exim_copies(server: Exim) -> list[Copy]:
    """What is in its mailbox, which all of its users share."""
    found = []
    for content in server.delivered():
        match = re.search(rb"^Envelope-to: (.*)@", content, re.MULTILINE)
        assert match
        found.append(Copy(match[1].decode(), content))
    return found


def postfix_copies(server: Postfix) -> list[Copy]:
    """What is in its mailboxes."""
    return [Copy(user, content) for user in USERS for content in server.delivered(user)]


@contextmanager
def behind_onion(tor: TorNetwork, server: Exim | Postfix) -> Iterator[Peer]:
    """A server that runs, behind an onion service."""
    onion = tor.add_onion_service({25: (ONION_CLIENTS, server.port)})
    try:
        tor.client.wait_until_reachable(onion)
        if isinstance(server, Exim):
            version = server.run("-bV").stdout.split()[2]
            yield Peer("Exim", version, onion, DOMAIN, partial(exim_copies, server))
        else:
            version = server.run("postconf", "-h", "mail_version").strip()
            yield Peer("Postfix", version, onion, DOMAIN, partial(postfix_copies, server))
    finally:
        tor.remove_onion_service(onion)


def test_exim(tor_network: TorNetwork, tmp_path: Path) -> None:
    skip_without("exim4", "setpriv")
    parts = DEBIAN_LIKE | EXIM_AS_DEBIAN | EXIM_DEFERS | EXIM_LIMITS
    with (
        EximWithTls(tmp_path / "mx", DOMAIN, (), CERTIFICATE, macros=EXIM_MACROS, parts=parts) as server,
        behind_onion(tor_network, server) as peer,
    ):
        tried = replace(peer, has_certificate=True, deferred=DEFERRED, size=SIZE, messages=MESSAGES)
        prove(tried, tor_network.client.socks, tmp_path / "relays")


def test_exim_without_certificate(tor_network: TorNetwork, tmp_path: Path) -> None:
    skip_without("exim4", "setpriv")
    with (
        Exim(tmp_path / "mx", DOMAIN, EXIM_MACROS, DEBIAN_LIKE | EXIM_AS_DEBIAN) as server,
        behind_onion(tor_network, server) as peer,
        recorded(tor_network.client.socks) as wire,
    ):
        tried = replace(peer, has_certificate=False)
        announces(tried, tor_network.client.socks)
        starts_tls(Desk(tried, wire, tmp_path / "relays"))


def test_postfix(tor_network: TorNetwork, tmp_path: Path) -> None:
    skip_without("postqueue", "setpriv")
    receiving = f"{ONION_MX.rstrip()}\n{POSTFIX_DEFERS}"
    with (
        Postfix(tmp_path / "mx", DOMAIN, POSTFIX_MAIN, receiving=receiving) as server,
        behind_onion(tor_network, server) as peer,
    ):
        tried = replace(peer, has_certificate=False, deferred=DEFERRED, size=SIZE)
        prove(tried, tor_network.client.socks, tmp_path / "relays")


def test_postfix_that_demands_tls(tor_network: TorNetwork, tmp_path: Path) -> None:
    skip_without("postqueue", "setpriv")
    certificate, key = CERTIFICATE.write(tmp_path)
    main = POSTFIX_MAILBOXES + POSTFIX_TLS.format(certificate, key)
    with (
        Postfix(tmp_path / "mx", DOMAIN, main, "tlsmgr unix - - n 1000? 1 tlsmgr\n") as server,
        behind_onion(tor_network, server) as peer,
        recorded(tor_network.client.socks) as wire,
    ):
        desk = Desk(replace(peer, has_certificate=True), wire, tmp_path / "relays")
        demands_tls(desk)
        starts_tls(desk)
