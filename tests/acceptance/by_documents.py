"""The set-ups of the documents, word by word, with Exim and with Postfix."""

from collections.abc import Sequence

from .administrator import follow
from .leaks import faults, names, others
from .site import CLONE, Site
from .world import LOCAL, REMOTE

_LIST = "/etc/onionmx/domains"
_EXAMPLES = {"example.org": LOCAL}


def prove(site: Site) -> None:
    """Follow the documents on the machine, try everything, restart it, try again, take onionmx off it."""
    install(site, REMOTE)
    if site.mta.name == "exim":
        _exim(site)
    else:
        _postfix(site)
    site.machine.reboot()
    site.works()
    site.machine.run("apt-get -qy purge onionmx")


def _postfix(site: Site) -> None:
    lists = {"`onionmx sync` with your lists": f"`onionmx sync {_LIST}`"}
    local = {r"example\.org": LOCAL.replace(".", r"\.")}
    follow(site.machine, "docs/postfix.md", "Send", values=local | lists)
    site.tor_is_up()
    site.sends()
    follow(site.machine, "docs/receiving.md", "Postfix")
    receive_through_tor(site)
    site.works()
    others(site)
    faults(site, "map missing", "relay down", "tor down")
    names(site)


def _exim(site: Site) -> None:
    """One way to send after the other, on the same machine."""
    site.machine.run(f"onionmx sync {_LIST}")
    follow(site.machine, "exim/README.md", "Sending")
    site.tor_is_up()
    site.sends()
    receive_through_tor(site)
    site.works()
    others(site)
    faults(site, "map missing", "tor down")
    names(site)
    follow(site.machine, "exim/README.md", "Through the relay")
    site.works()
    faults(site, "map missing", "relay down", "tor down")
    names(site)
    without_relay = "exim/conf.d/. exim/readsocket/conf.d/. "
    follow(site.machine, "exim/README.md", "Through the daemon", skipped=[without_relay])
    site.works()
    others(site)
    faults(site, "daemon down")
    names(site)


def install(site: Site, *domains: str) -> None:
    """Install the package, and list domains that may have an onion MX."""
    follow(site.machine, "README.md", "Install", values={"    make deb\n": ""}, folder=CLONE)
    site.machine.run(f"printf '%s\\n' {' '.join(domains)} >{_LIST}")


def receive_through_tor(site: Site, skipped: Sequence[str] = ()) -> None:
    """Make the onion service that leads to the MTA.

    Args:
        skipped: steps that are done, each by a piece of its text.
    """
    site.tor_is_up()
    follow(
        site.machine,
        "docs/receiving.md",
        "The service and the record",
        values=_EXAMPLES,
        skipped=["HiddenServiceDir", *skipped],  # what onion create writes
    )
