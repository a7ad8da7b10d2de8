"""A machine in a folder: Debian's own configuration files, the real tor and postconf, and a stand-in for systemd.

What the stand-in does is what setup waits for: tor opens its ports when it is reloaded, a first sync writes its maps.
The real thing, on a booted Debian, is the acceptance test's.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from onionmx.setup.programs import exim, opensmtpd, postfix, tor
from onionmx.setup.system import Done, System
from tests.e2e.programs import UNPACKED, find_program
from tests.onions import V3_ONION

UPDATE_EXIM = """\
# /etc/exim4/update-exim4.conf.conf
#
# This is a Debian specific file

dc_eximconfig_configtype='internet'
dc_other_hostnames='example.org'
dc_local_interfaces='127.0.0.1 ; ::1'
dc_readhost=''
dc_relay_domains=''
dc_minimaldns='false'
dc_relay_nets=''
dc_smarthost=''
CFILEMODE='644'
dc_use_split_config='false'
dc_hide_mailname=''
dc_mailname_in_oh='true'
dc_localdelivery='mail_spool'
"""
MAIN_CF = """\
# See /usr/share/postfix/main.cf.dist for a commented, more complete version

smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no
compatibility_level = 3.6
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = mx.example.org
mydestination = $myhostname, example.org, localhost
relayhost =
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mailbox_size_limit = 0
inet_interfaces = all
inet_protocols = all
"""
"""As Debian's postinst writes it for an Internet site."""
SMTPD_CONF = """\
#	$OpenBSD: smtpd.conf,v 1.10 2018/05/24 11:40:17 gilles Exp $

# This is the smtpd server system-wide configuration file.
# See smtpd.conf(5) for more information.

table aliases file:/etc/aliases

# To accept external mail, replace with: listen on all
#
listen on localhost

action "local" maildir alias <aliases>
action "relay" relay

# Uncomment the following to accept external mail for domain "example.org"
#
# match from any for domain "example.org" action "local"
match for local action "local"
match from local for any action "relay"
"""
"""As Debian installs it."""
_NETWORK = "DirAuthority nobody orport=1 no-v2 v3ident=" + "A" * 40 + " 127.0.0.1:9 " + "B" * 40
UNITS_ON = "run/fake-units"
"""Names of the units that are on, for `systemctl`."""


class Sandbox(System):
    """The machine.

    Args:
        root: its root folder.
        refusing: first words of commands that fail.
        real_tools: whether the real tor and the real postconf look at the files.
    """

    def __init__(self, root: Path, *, refusing: Sequence[str] = (), real_tools: bool = True) -> None:
        super().__init__(root)
        self.refusing = list(refusing)
        self.real_tools = real_tools
        self.commands: list[str] = []
        self.failing_sync = False
        self.doctor: list[Mapping[str, str]] = []

    @classmethod
    def make(cls, root: Path, mta: str, *, refusing: Sequence[str] = (), real_tools: bool = True) -> Self:
        """Make one with tor and an MTA as Debian installs them."""
        for folder in (
            "etc",
            "etc/systemd/system",
            "run/systemd/system",
            "usr/bin",
            "usr/lib/systemd/system",
            "usr/sbin",
            "bin",
            "var/lib/tor",
            "usr/share/tor",
        ):
            (root / folder).mkdir(parents=True)
        shutil.copytree(UNPACKED / "etc/tor", root / "etc/tor")
        defaults = (UNPACKED / "usr/share/tor/tor-service-defaults-torrc").read_text()
        (root / tor.DEFAULTS.lstrip("/")).write_text(defaults)
        for program in (
            "usr/lib/systemd/system/tor@default.service",
            "usr/bin/tor",
            "usr/bin/onionmx-route",
            "bin/kill",
        ):
            (root / program).touch()
        if mta == "postfix":
            (root / postfix.PROGRAM.lstrip("/")).touch()
            (root / "etc/postfix").mkdir()
            (root / "etc/postfix/main.cf").write_text(MAIN_CF)
            shutil.copy(UNPACKED / "usr/share/postfix/master.cf.dist", root / "etc/postfix/master.cf")
        elif mta == "opensmtpd":
            (root / opensmtpd.PROGRAM.lstrip("/")).touch()
            (root / opensmtpd.CONF.lstrip("/")).write_text(SMTPD_CONF)
        else:
            (root / exim.PROGRAM.lstrip("/")).touch()
            shutil.copytree(UNPACKED / "etc/exim4", root / "etc/exim4")
            (root / "etc/exim4/update-exim4.conf.conf").write_text(UPDATE_EXIM)
        apparmor = root / "etc/apparmor.d/local"
        apparmor.mkdir(parents=True)
        (apparmor / "system_tor").touch(0o640)
        shutil.copy(UNPACKED / "etc/apparmor.d/system_tor", root / "etc/apparmor.d/system_tor")
        (root / "var/lib/private").mkdir()
        (root / "etc/onionmx").mkdir()
        (root / "etc/onionmx/domains").write_text("example.net\n")
        return cls(root, refusing=refusing, real_tools=real_tools)

    def run(self, words: Sequence[str]) -> Done:
        """Run it, or play it."""
        command = " ".join(words)
        self.commands.append(command)
        if any(command.startswith(start) for start in self.refusing):
            return Done(1, errors="it says no")
        name = words[0].rpartition("/")[2]
        if name == "postconf":
            return self._postconf(words[1:])
        if name == "postfix":
            done = self._postconf(["-n"])
            return Done(1, errors=done.errors) if done.errors else done
        if name == "tor":
            return self._tor(words)
        if name == "systemctl":
            return self._systemctl(words[1:])
        return self._onionmx(words[1:]) if name == "onionmx" else Done(0)

    def wait_for(self, what: str, seconds: float) -> bool:  # noqa: ARG002 -- nobody has to be waited for
        """Ports are there at once; files are looked for."""
        return self.exists(what) if what.startswith("/") else True

    def _postconf(self, words: Sequence[str]) -> Done:
        if list(words) == ["-m"]:  # the real one wants Postfix's users
            return Done(0, "cdb\nsocketmap\n")
        if not self.real_tools:
            return Done(0, "127.0.0.0/8 [::1]/128\n" if "mynetworks" in words else "")
        folder = [] if "-c" in words else ["-c", str(self.root / "etc/postfix")]
        libraries = {**os.environ, "LD_LIBRARY_PATH": f"{UNPACKED}/usr/lib/postfix"}
        maps = {"MAIL_CONFIG": str(self.root / "etc/postfix")}
        done = subprocess.run(
            [find_program("postconf"), *folder, *words],
            capture_output=True,
            text=True,
            check=False,
            env=libraries | maps,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _tor(self, words: Sequence[str]) -> Done:
        if not self.real_tools:
            return Done(0)
        own = self.root / "run/tor-check"
        own.mkdir(exist_ok=True, mode=0o700)
        defaults = self.real(tor.DEFAULTS).read_text().replace("User debian-tor", "").replace("/var/lib/tor", f"{own}")
        (own / "defaults").write_text(defaults.replace("/run/tor", f"{own}") + _NETWORK + "\n")
        torrc = self.real(tor.TORRC).read_text().replace("/var/lib/tor", f"{own}").replace("/run/tor", f"{own}")
        (own / "torrc").write_text(torrc)
        places = {tor.DEFAULTS: str(own / "defaults"), tor.TORRC: str(own / "torrc")}
        command = [str(find_program("tor")), *(places.get(word, word) for word in words[1:])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def _systemctl(self, words: Sequence[str]) -> Done:
        path = self.root / UNITS_ON
        on = set(path.read_text().split()) if path.exists() else set()
        unit = words[-1]
        if words[0] in ("is-enabled", "is-active"):
            return Done(0, "active\n") if unit in on else Done(3, "inactive\n")
        if words[0] == "enable":
            on.add(unit)
        elif words[0] == "disable":
            on.discard(unit)
        path.write_text("\n".join(sorted(on)))
        if "tor" in unit and "HiddenServiceDir /var/lib/tor/onion-mx" in self.real(tor.TORRC).read_text():
            folder = self.root / "var/lib/tor/onion-mx"
            folder.mkdir(exist_ok=True)
            (folder / "hostname").write_text(f"{V3_ONION}\n")
        return Done(0)

    def _onionmx(self, words: Sequence[str]) -> Done:
        if words[0] == "sync" and self.failing_sync:
            return Done(75, errors="onionmx: no answer")
        if words[0] == "sync":
            for name in ("onionmx.cdb", "transport.cdb", "opensmtpd"):
                (self.root / "var/lib/onionmx" / name).write_bytes(b"")
        if words[0] == "doctor":
            return Done(0, json.dumps({"findings": self.doctor}))
        if words[0] == "publish":
            return Done(0, "".join(f"_onion-mx._tcp.{word}. 3600 IN SRV 0 5 25 {V3_ONION}.\n" for word in words[1:-4]))
        return Done(0)

    @property
    def units(self) -> set[str]:
        """Units that are on."""
        path = self.root / UNITS_ON
        return set(path.read_text().split()) if path.exists() else set()


def snapshot(root: Path) -> dict[str, str]:
    """All that is in /etc: kind, mode, owner and content of each file and folder."""
    found = {}
    for path in sorted((root / "etc").rglob("*")):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(root))] = f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {content}"
    return found
