"""An MTA that is an onion MX only, and what holds for every onion MX."""

from tests.acceptance.administrator import follow
from tests.acceptance.by_documents import install
from tests.acceptance.leaks import wait_for_outcome
from tests.acceptance.machine import MachineError
from tests.acceptance.mta import SENT
from tests.acceptance.site import Site
from tests.acceptance.world import LOCAL, REMOTE

_SPF = f"""\
import smtplib
with smtplib.SMTP("localhost") as client:
    client.ehlo()
    print(client.mail("bob@{REMOTE}"))
"""


def receives_only(site: Site, page: str, heading: str) -> None:
    """Follow the page; mail comes in, nothing is relayed, and onion names are not asked in DNS.

    Args:
        page: its path in the project.
        heading: of the section.
    """
    site.world.dns.records[REMOTE, "TXT"] = ['"v=spf1 -all"']
    said = site.machine.run(f"python3 -c '{_SPF}'")
    if "550" not in said or "SPF check failed" not in said:
        raise MachineError(f"a client of this host is not told of SPF: {said}")
    install(site)
    follow(site.machine, page, heading, "Receive", values={"example.org": LOCAL})
    site.tor_is_up()
    site.receives()  # waits until the onion service can be reached
    no_open_relay(site)
    _forwards_to_an_onion(site)
    site.machine.reboot()
    site.tor_is_up()
    site.receives()
    site.no_leak()


def no_open_relay(site: Site) -> None:
    """Fail unless the doctor finds, through the onion, that the MTA refuses to relay."""
    said = site.machine.run("onionmx doctor --check open-relay --json", check=False)
    if '"severity": "ok"' not in said:
        raise MachineError(f"the doctor does not find that the onion MX refuses to relay: {said}")


def _forwards_to_an_onion(site: Site) -> None:
    recipient = f"bob@{site.world.onion}"
    aliases = f"/etc/chasquid/domains/{LOCAL}/aliases"
    site.machine.run(f"printf 'forward: {recipient}\\n' >>{aliases} && {site.mta.flush}")
    onion = site.machine.path("/var/lib/tor/onion-mx/hostname").read_text().strip()
    site.world.send(onion, f"forward@{LOCAL}", "forwarded")
    if SENT in (outcomes := wait_for_outcome(site, recipient)):
        raise MachineError(f"{recipient} is reached without the relay: {outcomes}")
    site.no_leak()
    site.machine.run(f"sed -i '/^forward:/d' {aliases}")
