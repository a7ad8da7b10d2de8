"""The set-up by `onionmx setup`, and back."""

from functools import partial

from tests.e2e.daemon import wait_until

from .administrator import follow
from .leaks import faults, names, no_clearnet, others, wait_for_outcome
from .machine import MachineError
from .other_mta.known import OPENSMTPD
from .site import CLONE, Site, snapshot
from .world import LOCAL, REMOTE

_OTHERS = (
    # The system user of the package, and the backups that useradd(8) makes of these files.
    *(f"{name}{backup}" for name in ("passwd", "group", "shadow", "gshadow") for backup in ("", "-")),
    *("subuid", "subgid", "subuid-", "subgid-"),
    "ld.so.cache",  # dpkg runs ldconfig
    "mtab",
    "systemd/system/sockets.target.wants",  # systemctl disable takes it away when it is empty, by release
)
"""Files of /etc that are made anew by other programs while a package is installed."""
_TOLD = "told.example"
_LAST_TOLD = """\
test "$(systemctl show -P ExecMainExitTimestampMonotonic onionmx-map.service)" = 0 ||
systemctl show -P Result onionmx-map.service"""


def prove(site: Site) -> None:
    """Install, set up, try everything, restart the machine, try again, take all back."""
    etc = site.machine.path("/etc")
    site.machine.run(site.mta.before)
    before = snapshot(etc)
    site.tor_is_up()
    follow(site.machine, "README.md", "Install", values={"    make deb\n": ""}, folder=CLONE)
    installed = snapshot(etc)
    site.machine.run(f"printf '%s\\n' {REMOTE} >/srv/domains")
    answers = f"--yes --domain {LOCAL} --send --receive --lists /srv/domains"
    set_up = partial(follow, site.machine, "README.md", "Set up")
    set_up(values={"    onionmx setup\n": f"    onionmx setup {answers}\n"})
    once = snapshot(etc)
    site.works()
    set_up(values={"    onionmx setup\n": f"    onionmx setup {answers}\n"})
    same(once, snapshot(etc), "a second set-up")
    others(site)
    if site.mta is OPENSMTPD:
        _told(site)
        _forwards(site)
    faults(site, *site.mta.faults)
    names(site)
    site.machine.reboot()
    site.works()
    site.machine.run("onionmx setup --undo --yes")
    same(installed, snapshot(etc), "setup --undo")
    site.machine.run("apt-get -qy purge onionmx")
    same(before, snapshot(etc), "purge")


def _told(site: Site) -> None:
    """An MTA that reads a list has read the one that sync has written since."""
    site.machine.run(f"echo {_TOLD} {site.world.onion} >/etc/onionmx/pins && systemctl start onionmx-sync.service")
    wait_until(lambda: site.machine.read(_LAST_TOLD).split() == ["success"], "the MTA is told of another list")
    asked = len(site.world.dns.questions())
    recipient = f"{site.subject('told').replace(' ', '-')}@{_TOLD}"
    site.mta.submit(site.machine, "told", recipient)
    wait_for_outcome(site, recipient)
    no_clearnet(site, asked, _TOLD)
    site.machine.run("rm /etc/onionmx/pins && systemctl reload onionmx-relay && systemctl start onionmx-sync.service")


def _forwards(site: Site) -> None:
    """An alias that leads elsewhere takes mail from the onion too; clients of the onion may not address others."""
    site.machine.run(f"echo 'elsewhere: bob@{REMOTE}' >>/etc/aliases && smtpctl update table aliases")
    onion = site.machine.path("/var/lib/tor/onion-mx/hostname").read_text().strip()
    subject = site.subject("forwarded")
    site.world.send(onion, f"elsewhere@{LOCAL}", subject)
    site.arrives(subject)
    site.no_leak()
    site.machine.run("sed -i '/^elsewhere:/d' /etc/aliases && smtpctl update table aliases")


def same(before: dict[str, str], after: dict[str, str], what: str) -> None:
    """Fail if two looks at /etc differ."""
    changed = [
        f"{path}: {before.get(path, 'not there')} -> {after.get(path, 'not there')}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path) and path not in _OTHERS
    ]
    if changed:
        raise MachineError(f"{what} has changed /etc:\n" + "\n".join(changed))
