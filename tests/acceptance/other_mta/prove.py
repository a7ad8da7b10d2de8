"""What docs/other-mtas.md says of an MTA, word by word: mail out, mail in, and every fault on the way."""

from tests.acceptance.administrator import follow
from tests.acceptance.by_documents import install, receive_through_tor
from tests.acceptance.leaks import faults, names, others
from tests.acceptance.site import Site
from tests.acceptance.world import LOCAL, REMOTE

from .as_receiver import as_receiver
from .known import OTHERS
from .other import OtherMta
from .receiver import no_open_relay, receives_only
from .recipients import four_recipients
from .refusing import DOMAIN, RefusingMx

PAGE = "docs/other-mtas.md"
_EXAMPLES = {"example.org": LOCAL}


def prove(site: Site) -> None:
    """Follow the page on the machine, try everything, restart it, try again."""
    mta = OTHERS[site.mta.name]
    site.machine.run(mta.before)
    if mta.is_sender:
        _both_ways(site, mta)
    else:
        receives_only(site, PAGE, mta.heading)
        as_receiver(site)


def _both_ways(site: Site, mta: OtherMta) -> None:
    with RefusingMx(site.world) as mx:
        install(site, REMOTE, DOMAIN)
        follow(site.machine, PAGE, "Send", values=_EXAMPLES)
        follow(site.machine, PAGE, mta.heading, "Send", skipped=mta.other_case)
        site.tor_is_up()
        site.sends()
        four_recipients(site, mx)
    follow(site.machine, PAGE, mta.heading, "Receive", values=_EXAMPLES)
    receive_through_tor(site, skipped=["[local]"])  # from "Send"
    no_open_relay(site)
    site.works()
    as_receiver(site)
    others(site)
    faults(site, *mta.faults)
    names(site)
    site.machine.reboot()
    site.works()
