"""A local user without rights beside a running installation: no mail, no key, no root, nothing lost, nothing late."""

import os
import secrets
import shutil
import time
from pathlib import Path

from tests.e2e.daemon import wait_until

from .administrator import follow
from .machine import MachineError
from .mta import USER
from .site import CLONE, Site
from .world import LOCAL, REMOTE

VARIABLE = "ATTACK_SECONDS"
SECONDS = float(os.environ.get(VARIABLE) or 60)
"""How long; an hour by hand."""
LATE = 60.0
"""Seconds after which a message is late."""
_FOLDER = "/home/mallory/loot"
_RESTARTED = ("onionmx-relay.service", "tor@default.service", "onionmx-relay.service")
_EVERY = 12.0
"""Seconds between two restarts; tor needs some of them to find its way back into the network."""
_BY_ROOT = ("onionmx doctor --quiet", "onionmx sync", "onionmx onion create --dry-run", f"onionmx publish {LOCAL}")
"""What an administrator runs meanwhile; it may fail, and must do nothing for the attacker."""


def prove(site: Site) -> None:
    """Set the machine up for hosts with local users, then attack it while mail goes out and comes in."""
    machine = site.machine
    site.tor_is_up()
    follow(machine, "README.md", "Install", values={"    make deb\n": ""}, folder=CLONE)
    follow(machine, "docs/units.md", "Hosts with local users")
    site.tor_is_up()
    machine.run(f"printf '%s\\n' {REMOTE} >/srv/domains")
    machine.run(f"onionmx setup --yes --domain {LOCAL} --send --receive --lists /srv/domains", timeout=400)
    site.works()
    machine.run("useradd --create-home mallory && install -d -o mallory /home/mallory/loot")
    shutil.copy(Path(__file__).with_name("attack.py"), machine.path("/home/mallory/attack.py"))
    machine.run(
        "systemd-run --unit=attack --property=User=mallory --property=LimitNOFILE=524288 --property=TasksMax=infinity "
        f"--collect python3 /home/mallory/attack.py {SECONDS:g} {_FOLDER}"
    )
    wait_until(lambda: "traps left" in machine.read("journalctl -u attack"), "the attack to begin", 60)
    secret = secrets.token_hex(16)
    sent = _send_while_attacked(site, secret)
    wait_until(lambda: machine.code("systemctl is-active attack") != 0, "the end of the attack", LATE)
    print(machine.read("journalctl -o cat -u attack"), flush=True)
    arrived = {}
    deadline = time.monotonic() + LATE
    while len(arrived := site.world.arrived(sent)) < len(sent) and time.monotonic() < deadline:
        machine.run(site.mta.flush)
        time.sleep(1)
    _judge(site, secret, sent, arrived)
    site.works()


def _send_while_attacked(site: Site, secret: str) -> dict[str, float]:
    """Send, restart and administer; when each message was handed over, by its subject."""
    sent: dict[str, float] = {}
    restarts = 0
    begin = time.monotonic()
    while (elapsed := time.monotonic() - begin) < SECONDS:
        subject = site.subject(f"{secret} under attack")
        sent[subject] = time.monotonic()
        site.mta.submit(site.machine, subject, f"bob@{REMOTE}")
        site.machine.run(site.mta.flush)
        if elapsed > restarts * _EVERY:
            site.machine.run(f"systemctl restart {_RESTARTED[restarts % len(_RESTARTED)]}")
            site.machine.run(_BY_ROOT[restarts % len(_BY_ROOT)], check=False)
            restarts += 1
    print(f"{len(sent)} messages, {restarts} restarts", flush=True)
    return sent


def _judge(site: Site, secret: str, sent: dict[str, float], arrived: dict[str, float]) -> None:
    delays = {subject: arrived[subject] - begun for subject, begun in sent.items() if subject in arrived}
    print(
        f"{len(arrived)} of {len(sent)} arrived, the latest after {max(delays.values(), default=0):.1f} s", flush=True
    )
    wrong = [f"lost: {subject}" for subject in sent if subject not in arrived]
    wrong += [f"after {delay:.0f} s: {subject}" for subject, delay in delays.items() if delay > LATE]
    loot = site.machine.path(_FOLDER)
    key = site.machine.path("/var/lib/tor/onion-mx/hs_ed25519_secret_key").read_bytes()
    for name in ("heard", "read"):
        got = (loot / name).read_bytes()
        wrong += [f"{name}: {what}" for what, sign in _signs(secret, key).items() if sign in got]
    if (loot / "root").exists():
        wrong.append(f"root has run a program of the attacker: {(loot / 'root').read_text()}")
    if (loot / "caught").exists():
        wrong.append("something was written where a link of the attacker leads")
    if wrong:
        raise MachineError("\n".join(wrong))


def _signs(secret: str, key: bytes) -> dict[str, bytes]:
    return {
        "mail": secret.encode(),
        "who writes": f"{USER}@{LOCAL}".encode(),
        "the key of the onion service": key[32:],
        "a file that may be written": b"MAY BE WRITTEN",
    }
