"""A real Exim in a folder of its own, with the fragments of `exim/` as they are in a configuration like Debian's.

Exim runs wholly unprivileged: a user who gives ``-C`` needs no root if all that Exim touches is his. Debian compiles
the name of its user, Debian-exim, into the program and refuses to start where that user does not exist, so a copy
is made in which the number of the running user is written instead ("ref:name uses a number" in Exim's src/EDITME).
Exim refuses to be root in that role, so root becomes `nobody` for it. With `is_root` it stays root as an installed one
does, and runs what its routers ask for as root. /etc/exim4 is neither read nor written.
"""

import os
import re
import shlex
import smtplib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from .daemon import Daemon, DaemonError, free_ports, wait_until
from .programs import PROJECT, UNPACKED, find_program

FRAGMENTS = PROJECT / "exim" / "conf.d"
HEAVY = UNPACKED / "heavy/usr/sbin/exim4"
"""Debian's exim4-daemon-heavy, which knows the PROXY protocol; exim4-daemon-light does not."""
SECTIONS = ("main", "acl", "router", "transport", "retry", "auth")
"""The order in which Debian's update-exim4.conf joins the folders of conf.d."""
LOCAL_SENDERS = "127.0.0.1"
ONION_CLIENTS = "127.0.0.2"
"""Where the onion service hands its connections to Exim: the default of ONIONMX_LISTEN_ADDRESS."""
MAILBOXES = ("alice", "bob", "postmaster")
COMMAND_TIMEOUT = 300.0
"""Seconds for one run of exim; a queue run may wait for tor's verdict on a dead onion, two minutes."""
DELIVERY_TIMEOUT = 240.0

NOBODY = 65534
NO_ROUTE = 'for domain; do :; done; echo "onionmx-route: $domain: no entry in the map" >&2; exit 1'
"""What onionmx-route says of a domain that has no route, as a shell script."""
COMPILED_USER = b"\0Debian-exim\0"

DEBIAN_LIKE = {
    "main/01_options": """
domainlist local_domains = MAIN_LOCAL_DOMAINS
domainlist relay_to_domains = MAIN_RELAY_TO_DOMAINS
hostlist relay_from_hosts = MAIN_RELAY_NETS
local_interfaces = MAIN_LOCAL_INTERFACES
acl_smtp_rcpt = MAIN_ACL_CHECK_RCPT
host_lookup = MAIN_HOST_LOOKUP
""",
    "acl/00_header": "begin acl\n",
    "acl/30_check_rcpt": """
acl_check_rcpt:
  accept hosts = :
  deny domains = +local_domains
       local_parts = ^[.] : ^.*[@%!/|`#&?]
       message = restricted characters in address
  accept hosts = +relay_from_hosts
         control = submission/sender_retain
  accept authenticated = *
  require message = relay not permitted
          domains = +local_domains : +relay_to_domains
  require verify = recipient
  accept
""",
    "router/00_header": "begin routers\n",
    "router/200_primary": """
clearnet:
  driver = accept
  domains = ! +local_domains
  transport = clearnet
  no_more
""",
    "router/900_local_user": """
local_user:
  driver = accept
  domains = +local_domains
  local_parts = MAILBOXES
  transport = mailbox
""",
    "transport/00_header": "begin transports\n",
    "transport/30_mailbox": """
mailbox:
  driver = appendfile
  directory = FOLDER/mailbox
  maildir_format
  use_crlf
  envelope_to_add
""",
    # What a dnslookup router would send to the open internet; the tests look at what arrives here.
    "transport/30_clearnet": """
clearnet:
  driver = appendfile
  directory = FOLDER/clearnet
  maildir_format
  use_crlf
  envelope_to_add
""",
    "retry/00_header": "begin retry\n* * F,1h,15m\n",
    "auth/00_header": "begin authenticators\n",
    "auth/30_anybody": """
anybody:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = true
""",
}
"""What the tests need of Debian's conf.d, under the same macros. It trusts its own host, and any password."""


class Exim:
    """One Exim: a daemon on 127.0.0.1 for its own host and on 127.0.0.2 for an onion service, on the same port."""

    def __init__(  # noqa: PLR0913 -- what differs between tests
        self,
        folder: Path,
        hostname: str,
        macros: Mapping[str, str] | None = None,
        parts: Mapping[str, str] | None = None,
        program: Path | None = None,
        *,
        wrap: Sequence[str] = (),
        is_root: bool = False,
    ) -> None:
        """Write the configuration.

        Args:
            folder: a new folder for everything of this Exim.
            hostname: its name, which is also its only local domain.
            macros: what an administrator defines in conf.d/main/000_localmacros, over the defaults of the tests.
            parts: files that replace those of DEBIAN_LIKE, by section and name.
            program: the exim to run, by default that of exim4-daemon-light.
            wrap: words in front of every command that runs it.
            is_root: whether it keeps the rights of root, who runs the test.
        """
        self.folder = folder
        self.hostname = hostname
        [self.port] = free_ports(1)
        self.mainlog = folder / "log" / "mainlog"
        self._program = folder / "exim4"
        self._wrap = wrap
        self._is_root = is_root
        self._configuration = folder / "exim.conf"
        for name in ("spool", "log", "mailbox", "clearnet"):
            (folder / name).mkdir(parents=True)
        self._copy_program(program or find_program("exim4"))
        helper = folder / "no-route"
        helper.write_text(f"#!/bin/sh\n{NO_ROUTE}\n")
        helper.chmod(0o755)
        defaults = {
            "FOLDER": str(folder),
            "ONIONMX_HELPER": str(helper),
            "MAILBOXES": " : ".join(MAILBOXES),
            "MAIN_LOCAL_DOMAINS": f"@ : {hostname}",
            "MAIN_RELAY_TO_DOMAINS": "",
            "MAIN_RELAY_NETS": "127.0.0.0/8",
            "OWN_PORT": str(self.port),
            "MAIN_LOCAL_INTERFACES": f"{LOCAL_SENDERS}.OWN_PORT : {ONION_CLIENTS}.OWN_PORT",
        }
        self._configuration.write_text(self._compose(defaults | dict(macros or {}), parts or DEBIAN_LIKE))
        self._give_away()
        self._daemon = Daemon("exim", self._command("-bdf"), folder)

    def _command(self, *arguments: str) -> list[str]:
        user = [] if self._is_root else _plain_user()
        return [*self._wrap, *user, str(self._program), "-C", str(self._configuration), *arguments]

    def _copy_program(self, original: Path) -> None:
        program = original.read_bytes()
        if program.count(COMPILED_USER) != 1:
            message = "exim4 is not Debian's build: the name of its user is not where it is expected"
            raise RuntimeError(message)
        user = b"\0" + str(_user()).encode().ljust(len(COMPILED_USER) - 1, b"\0")
        self._program.write_bytes(program.replace(COMPILED_USER, user))
        self._program.chmod(0o755)

    def _compose(self, macros: Mapping[str, str], parts: Mapping[str, str]) -> str:
        files = {str(path.relative_to(FRAGMENTS)): path.read_text() for path in FRAGMENTS.glob("*/*")}
        files |= parts
        localmacros = "".join(f"{name} = {value}\n" for name, value in macros.items())
        files["main/000_localmacros"] = localmacros + self._unprivileged()
        # Debian's run-parts sorts each folder in the C locale, as sorted() does.
        ordered = (name for section in SECTIONS for name in sorted(files) if name.startswith(f"{section}/"))
        return "\n".join(files[name] for name in ordered)

    def _unprivileged(self) -> str:
        return f"""
exim_path = {self._program}
exim_user = {_user()}
exim_group = {_group()}
{"" if self._is_root else "deliver_drop_privilege"}
primary_hostname = {self.hostname}
spool_directory = {self.folder}/spool
log_file_path = {self.folder}/log/%slog
pid_file_path = {self.folder}/exim.pid
keep_environment =
tls_advertise_hosts =
"""

    def _give_away(self) -> None:
        if os.geteuid() == 0:
            self.folder.chmod(0o755)
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, _user(), _group())
        if self._is_root:
            os.chown(self._configuration, 0, 0)

    def write_command(self, path: Path) -> None:
        """Write a program that runs this Exim as the installed one is run, with no need of `-C`."""
        path.write_text(f'#!/bin/sh\nexec {shlex.join(self._command())} "$@"\n')
        path.chmod(0o755)

    def start(self) -> Self:
        """Start the daemon and wait until it listens."""
        self._daemon.start()
        # Exim listens everywhere before it takes a connection anywhere.
        self._daemon.wait_for_port(LOCAL_SENDERS, self.port)
        return self

    def stop(self) -> None:
        """Stop the daemon and the deliveries it has started."""
        self._daemon.stop()

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def command(self, *arguments: str) -> list[str]:
        """The words that run it with these arguments."""
        return self._command(*arguments)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one exim command to its end."""
        return subprocess.run(
            self._command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )

    def route_test(self, *addresses: str) -> str:
        """Route addresses without sending anything: `exim -bt`."""
        return self.run("-bt", *addresses).stdout

    def connect(self, address: str = LOCAL_SENDERS) -> smtplib.SMTP:
        """Open an SMTP session with one of its two listeners and say EHLO."""
        session = smtplib.SMTP(address, self.port, local_hostname="client.example", timeout=COMMAND_TIMEOUT)
        session.ehlo()
        return session

    def submit(self, sender: str, recipients: Sequence[str], message: bytes) -> None:
        """Hand it a message as a program on its own host does; lines end in CRLF."""
        with self.connect() as session:
            session.sendmail(sender, recipients, message)

    def run_queue(self) -> None:
        """Try everything in the queue once, now, and wait for the end: `exim -qff`."""
        self.run("-qff")

    def queue(self) -> list[str]:
        """Return the ids of the messages in the queue: `exim -bpr`."""
        return re.findall(r"^\s*\S+\s+\S+ (\w+-\w+-\w+) <", self.run("-bpr").stdout, re.MULTILINE)

    def log_text(self) -> str:
        """Return the main log."""
        return self.mainlog.read_text(errors="replace") if self.mainlog.exists() else ""

    def wait_for_log(self, pattern: str, timeout: float = DELIVERY_TIMEOUT) -> re.Match[str]:
        """Wait until the main log holds the regular expression."""
        expression = re.compile(pattern, re.MULTILINE)
        self._wait(lambda: expression.search(self.log_text()) is not None, f"{pattern!r} in its log", timeout)
        match = expression.search(self.log_text())
        assert match is not None
        return match

    def delivered(self) -> list[bytes]:
        """Return the messages in the mailbox, headers of its own on top, in the order of arrival."""
        return _maildir(self.folder / "mailbox")

    def wait_for_delivered(self, count: int, timeout: float = DELIVERY_TIMEOUT) -> list[bytes]:
        """Wait until the mailbox holds so many messages."""
        self._wait(lambda: len(self.delivered()) >= count, f"{count} messages in its mailbox", timeout)
        return self.delivered()

    def sent_over_clearnet(self) -> list[bytes]:
        """Return what the router after the fragments has taken."""
        return _maildir(self.folder / "clearnet")

    def _wait(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        try:
            wait_until(condition, what, timeout)
        except DaemonError as error:
            message = f"{self.hostname}: {error}\n--- {self.mainlog} ---\n{self.log_text()}"
            raise DaemonError(message) from None


def _user() -> int:
    return os.geteuid() or NOBODY


def _group() -> int:
    return os.getegid() if os.geteuid() else NOBODY


def _plain_user() -> list[str]:
    """Return the words that let a command run as a plain user, which for root is another one.

    Programs under root's home, such as the Python of a virtual environment, stay usable: the right to pass by file
    permissions is kept (capabilities(7), CAP_DAC_OVERRIDE), and goes on to the helper that Exim runs.
    """
    if os.geteuid():
        return []
    keep = "+dac_override"
    words = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    words += ["--inh-caps", keep, "--ambient-caps", keep, "--pdeathsig", "KILL", "--"]
    return [str(find_program("setpriv")), *words]


def _maildir(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "new").glob("*"))]
