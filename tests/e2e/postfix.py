"""A real Postfix in a folder of its own: a mail server that sends, an onion MX, or both.

Its master wants root, and two accounts for itself that nobody else uses: existing ones without files and processes
are borrowed, so nothing is added to the system. /etc/postfix and the queue of an installed Postfix are neither read
nor written. The options: postconf(5), master(5).
"""

import grp
import json
import os
import pwd
import re
import smtplib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .daemon import Daemon, DaemonError, free_ports, wait_until
from .programs import PROJECT, UNPACKED, find_program

LOCAL_SENDERS = "127.0.0.1"
ONION_CLIENTS = "127.0.0.2"
"""Where the onion service hands its connections to Postfix; the same address as for Exim."""
MAILBOXES = ("alice", "bob", "postmaster")
COMMAND_TIMEOUT = 300.0
DELIVERY_TIMEOUT = 240.0

OWNER = "daemon"
DROP_GROUP = "uucp"
MAILBOX_USER = "games"
"""Accounts that Debian's base-passwd gives to every system; Postfix insists on three that differ."""

PRIVATE = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")
SHARED = {"maildrop": 0o1730, "public": 0o2710}

LONGEST_SOCKET = "queue/public/postlog"
MAX_SOCKET_PATH = 107
"""Bytes (unix(7))."""
MAIN = """\
compatibility_level = 3.7
mail_owner = {owner}
setgid_group = {drop_group}
daemon_directory = {daemons}
command_directory = {commands}
shlib_directory = {libraries}
meta_directory = {folder}/etc
queue_directory = {folder}/queue
maillog_file = /dev/stdout
import_environment = MAIL_CONFIG LD_LIBRARY_PATH
myhostname = {hostname}
inet_interfaces = all
inet_protocols = ipv4
mydestination =
alias_maps =
# Relative to the queue, where every daemon is at work: nobody but root may pass through the folders of a test.
data_directory = ../data
virtual_mailbox_base = /proc/self/cwd/../mailbox
virtual_mailbox_domains = {hostname}
virtual_mailbox_maps = inline:{{ {mailboxes} }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
# What an smtp service would send to the open internet; the tests look at what arrives here.
default_transport = clearnet
"""
MASTER = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
clearnet unix - - n - - discard
{local}:{{port}} inet n - n - - smtpd
"""
MAPS = "cdb postfix-cdb.so dict_cdb_open mkmap_cdb_open\n"

WATCH = '"$@" & trap "kill $!" TERM; wait; wait'
"""Dies with the test instead of master, for which the kernel forgets that when it changes its user (prctl(2))."""


def documented(text: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the blocks of a document that are under the name of a file, by that name.

    Args:
        text: the document; a block is indented by four blanks and follows a line "In `FILE`:".
        values: what is different on the machine of the test: text of the document, and what to put in its place.
    """
    for shown, real in values.items():
        if shown not in text:
            raise LookupError(f"the document does not mention {shown}")
        text = text.replace(shown, real)
    blocks: dict[str, str] = {}
    for file, block in re.findall(r"^In `([^`]+)`:\n\n((?: {4}.*\n|\n)+)", text, re.MULTILINE):
        blocks[file] = blocks.get(file, "") + re.sub(r"^ {4}", "", block, flags=re.MULTILINE)
    return blocks


def section(text: str, heading: str) -> str:
    """Return what is under a heading of the second level in a document, to the next one."""
    _, found, rest = text.partition(f"\n## {heading}\n")
    if not found:
        raise LookupError(f"the document has no heading {heading}")
    return rest.partition("\n## ")[0]


DOCUMENT = PROJECT / "docs" / "receiving.md"
RECEIVING = documented(
    section(DOCUMENT.read_text(), "Postfix"),
    # Its folders are not made for chroot.
    {"127.0.0.2:25 inet": ONION_CLIENTS + ":{port} inet", "n    -       y": "n    -       n"},
)
ONION_MX = RECEIVING["/etc/postfix/master.cf"]
"""The service for clients of the onion service, as documented."""


@dataclass(frozen=True)
class Waiting:
    """A recipient of a message in the queue, and why it is still there; the reason is empty before the first try."""

    recipient: str
    reason: str


class Postfix:
    """One Postfix: it trusts its own host on 127.0.0.1, and is an onion MX on 127.0.0.2, on the same port."""

    def __init__(  # noqa: PLR0913 -- what differs between tests
        self,
        folder: Path,
        hostname: str,
        main: str = "",
        master: str = "",
        receiving: str = ONION_MX,
        *,
        wrap: Sequence[str] = (),
    ) -> None:
        """Write the configuration.

        Args:
            folder: a new folder for everything of this Postfix.
            hostname: its name, which is also its only local domain, with MAILBOXES as users.
            main: more lines for main.cf; a later line for a parameter wins (postconf(5)).
            master: more lines for master.cf.
            receiving: the service for clients of the onion service, in master.cf, listening on `{port}`; by default
                that of `docs/receiving.md`.
            wrap: words in front of the command that runs it.
        """
        if len(f"{folder}/{LONGEST_SOCKET}") > MAX_SOCKET_PATH:
            raise DaemonError(f"{folder} is too long: Postfix would stop without a word for want of {LONGEST_SOCKET}")
        self.folder = folder
        self.hostname = hostname
        [self.port] = free_ports(1)
        self.configuration = folder / "etc"
        self._libraries = {"LD_LIBRARY_PATH": str(UNPACKED / "usr/lib/postfix")}
        master_program = UNPACKED / "usr/lib/postfix/sbin/master"
        for name in ("etc", "data", "queue", "mailbox"):
            (folder / name).mkdir(parents=True)
        self._make_queue()
        self._write(master_program.parent, main, master, receiving)
        # -s: stay in the session that is stopped as a whole, and leave standard output to postlogd (master(8)).
        master_command: list[str | Path] = [master_program, "-c", self.configuration, "-s"]
        watched: list[str | Path] = [find_program("setpriv"), "--pdeathsig", "TERM", "--", "sh", "-c", WATCH, "sh"]
        command = [*wrap, *watched, *master_command]
        self._daemon = Daemon("postfix", command, folder, self._libraries)

    @property
    def environment(self) -> Mapping[str, str]:
        """In which a program that looks for the machine's Postfix finds this one."""
        # Not the folder of all unpacked programs: a machine has one MTA, and Exim is in it too.
        programs = self.folder / "programs"
        if not programs.exists():
            programs.mkdir()
            (programs / "postconf").symlink_to(find_program("postconf"))
        path = os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)])
        return self._libraries | {"PATH": path, "MAIL_CONFIG": str(self.configuration)}

    def _make_queue(self) -> None:
        """Do what `post-install create-missing` does, without asking for a system of its own."""
        owner, drop = pwd.getpwnam(OWNER).pw_uid, grp.getgrnam(DROP_GROUP).gr_gid
        queue = self.folder / "queue"
        (queue / "pid").mkdir()
        for name, mode in dict.fromkeys(PRIVATE, 0o700).items() | SHARED.items():
            (queue / name).mkdir()
            os.chown(queue / name, owner, drop if name in SHARED else -1)
            (queue / name).chmod(mode)
        os.chown(self.folder / "data", owner, -1)
        mailbox_user = pwd.getpwnam(MAILBOX_USER)
        os.chown(self.folder / "mailbox", mailbox_user.pw_uid, mailbox_user.pw_gid)
        self.folder.chmod(0o755)

    def _write(self, daemons: Path, main: str, master: str, receiving: str) -> None:
        mailbox_user = pwd.getpwnam(MAILBOX_USER)
        text = MAIN.format(
            owner=OWNER,
            drop_group=DROP_GROUP,
            daemons=daemons,
            commands=UNPACKED / "usr/sbin",
            libraries=daemons.parent,
            folder=self.folder,
            hostname=self.hostname,
            mailboxes=", ".join(f"{{ {name}@{self.hostname} = {name}/ }}" for name in MAILBOXES),
            uid=mailbox_user.pw_uid,
            gid=mailbox_user.pw_gid,
        )
        (self.configuration / "main.cf").write_text(text + RECEIVING["/etc/postfix/main.cf"] + main)
        # Its own host's service comes last: when that answers, the others do.
        services = (receiving + MASTER.format(local=LOCAL_SENDERS) + master).replace("{port}", str(self.port))
        (self.configuration / "master.cf").write_text(services)
        (self.configuration / "dynamicmaps.cf").write_text(MAPS)

    def start(self) -> Self:
        """Start it and wait until it listens."""
        self._daemon.start()
        self._daemon.wait_for_port(LOCAL_SENDERS, self.port)
        return self

    def stop(self) -> None:
        """Stop it and its deliveries."""
        self._daemon.stop()

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def run(self, program: str, *arguments: str, text: str = "") -> str:
        """Run one of Postfix's commands on this configuration; return what it prints."""
        result = subprocess.run(
            [find_program(program), "-c", self.configuration, *arguments],
            input=text,
            env=dict(os.environ) | self._libraries,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        if result.returncode:
            raise DaemonError(f"{program} {' '.join(arguments)}: {result.stderr}\n{self._daemon.log_tail()}")
        return result.stdout

    def connect(self, address: str = LOCAL_SENDERS) -> smtplib.SMTP:
        """Open an SMTP session with one of its two listeners and say EHLO."""
        session = smtplib.SMTP(address, self.port, local_hostname="client.example", timeout=COMMAND_TIMEOUT)
        session.ehlo()
        return session

    def submit(self, sender: str, recipients: Sequence[str], message: bytes) -> None:
        """Hand it a message as a program on its own host does; lines end in CRLF."""
        with self.connect() as session:
            session.sendmail(sender, recipients, message)

    def flush(self) -> None:
        """Try everything in the queue now, destinations that failed too, without waiting: `postqueue -f`."""
        self.run("postqueue", "-f")

    def queue(self) -> list[Waiting]:
        """Return the recipients in the queue: `postqueue -j`."""
        messages: list[dict[str, Any]] = [json.loads(line) for line in self.run("postqueue", "-j").splitlines()]
        return [
            Waiting(recipient["address"], recipient.get("delay_reason", ""))
            for message in messages
            for recipient in message["recipients"]
        ]

    def log_text(self) -> str:
        """Return its log, of all its runs."""
        return self._daemon.log.read_text(errors="replace") if self._daemon.log.exists() else ""

    def wait_for_log(self, pattern: str, timeout: float = DELIVERY_TIMEOUT) -> re.Match[str]:
        """Wait until the log holds the regular expression."""
        expression = re.compile(pattern, re.MULTILINE)
        self._wait(lambda: expression.search(self.log_text()) is not None, f"{pattern!r} in its log", timeout)
        match = expression.search(self.log_text())
        assert match is not None
        return match

    def delivered(self, mailbox: str = "*") -> list[bytes]:
        """Return the messages in a mailbox, or in all, headers of its own on top and lines ending in LF."""
        return [path.read_bytes() for path in sorted((self.folder / "mailbox").glob(f"{mailbox}/new/*"))]

    def wait_for_delivered(self, count: int, timeout: float = DELIVERY_TIMEOUT) -> list[bytes]:
        """Wait until the mailboxes hold so many messages."""
        self._wait(lambda: len(self.delivered()) >= count, f"{count} messages in its mailboxes", timeout)
        return self.delivered()

    def sent_over_clearnet(self) -> list[str]:
        """Return the recipients that took the way of all other mail."""
        return re.findall(r"postfix/discard\[\d+\]: \w+: to=<([^>]*)>.* status=sent", self.log_text())

    def _wait(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        try:
            wait_until(condition, what, timeout)
        except DaemonError as error:
            raise DaemonError(f"{self.hostname}: {error}\n{self._daemon.log_tail()}") from None
