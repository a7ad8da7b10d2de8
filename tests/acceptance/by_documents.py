"""The set-ups of the documents, word by word, with Exim and with Postfix."""

from .administrator import follow
from .leaks import faults, names
from .site import CLONE, Site
from .world import LOCAL, REMOTE

_LIST = "/etc/onionmx/domains"
_EXAMPLES = {"example.org": LOCAL}


def prove(site: Site) -> None:
    """Follow the documents on the machine, try everything, restart it, try again, take onionmx off it."""
    follow(site.machine, "README.md", "Install", values={"    make deb\n": ""}, folder=CLONE)
    site.machine.run(f"printf '%s\\n' {REMOTE} >{_LIST}")
    if site.mta.name == "exim":
        _exim(site)
    else:
        _postfix(site)
    site.machine.reboot()
    site.works()
    site.machine.run("apt-get -qy purge onionmx")


def _postfix(site: Site) -> None:
    follow(
        site.machine,
        "docs/postfix.md",
        "Send",
        values=_EXAMPLES | {"`onionmx sync` with your lists": f"`onionmx sync {_LIST}`"},
    )
    site.tor_is_up()
    site.sends()
    follow(site.machine, "docs/receiving.md", "Postfix")
    _service(site)
    site.works()
    faults(site)
    names(site)


def _exim(site: Site) -> None:
    site.machine.run(f"onionmx sync {_LIST}")
    follow(site.machine, "exim/README.md", "Sending")
    site.tor_is_up()
    site.sends()
    _service(site)
    site.works()
    follow(site.machine, "exim/README.md", "Through the relay")
    site.works()
    faults(site)
    names(site)


def _service(site: Site) -> None:
    site.tor_is_up()
    follow(
        site.machine,
        "docs/receiving.md",
        "The service and the record",
        values=_EXAMPLES,
        skipped=["HiddenServiceDir"],  # what onion create writes
    )
