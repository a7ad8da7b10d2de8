"""The MTA of a machine, as its administrator uses it."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .machine import Machine
from .world import LOCAL

HOSTNAME = f"mail.{LOCAL}"
USER = "alice"
MAILBOX = f"/var/mail/{USER}"
SENT, DEFERRED, BOUNCED = "sent", "deferred", "bounced"
"""What may become of a recipient."""


@dataclass(frozen=True)
class Mta:
    """An MTA.

    Args:
        name: as in the rest of this package.
        answers: for debconf.
        log: prints its log since the machine was started first.
        outcome: a regular expression for a line of the log that says what became of a recipient, `{}`: its group is
            one of `words`.
        flush: tries everything in the queue again.
        queue: prints the queue.
        version: prints its version.
        words: what its log calls SENT, DEFERRED and BOUNCED.
        mailbox: prints the mail of the user.
        waiting: prints what is in the queue, and nothing when nothing is.
        before: a script that makes it the server of LOCAL, as the comments in Debian's configuration say.
        faults: of `leaks.faults`: what stands between it and the onion.
        installed: a script for the root in which it is installed, for an MTA that does not start as it comes.
        fetch: gets into a root, with this machine's network, what Debian does not have.
        sendmail: takes a message as sendmail(8) does, followed by the sender and the recipients.
    """

    name: str
    answers: str
    log: str
    outcome: str
    flush: str
    queue: str
    version: str
    words: Mapping[str, str] = field(default_factory=lambda: {word: word for word in (SENT, DEFERRED, BOUNCED)})
    mailbox: str = f"cat {MAILBOX}"
    waiting: str = ""
    before: str = ":"
    faults: tuple[str, ...] = ("map missing", "relay down", "tor down")
    installed: str = ":"
    fetch: Callable[[Path], None] | None = None
    sendmail: str = "/usr/sbin/sendmail -i -f"

    def submit(self, machine: Machine, subject: str, *recipients: str) -> None:
        """Hand over a message as a program on the machine does. It may be refused at once."""
        message = shlex.quote(f"Subject: {subject}\n\nHello.\n")
        machine.run(f"printf %s {message} | {self.sendmail} {USER}@{LOCAL} {shlex.join(recipients)}", check=False)

    def outcomes(self, machine: Machine, recipient: str) -> list[str]:
        """What became of all that was sent to this recipient, tries included: SENT, DEFERRED or BOUNCED of each."""
        text = machine.read(self.log)
        found = re.findall(self.outcome.format(re.escape(recipient)), text, re.IGNORECASE | re.MULTILINE)
        return [self.words[word] for word in found]


EXIM = Mta(
    name="exim",
    answers=f"""\
exim4-config exim4/dc_eximconfig_configtype select internet site; mail is sent and received directly using SMTP
exim4-config exim4/dc_other_hostnames string {LOCAL}
exim4-config exim4/mailname string {LOCAL}
exim4-config exim4/dc_local_interfaces string
""",
    log="cat /var/log/exim4/mainlog /var/log/exim4/rejectlog 2>/dev/null || :",
    outcome=r"(=>|->|==|\*\*) <?{}\b",
    flush="exim4 -qff",
    queue="exim4 -bp",
    version="exim4 -bV | sed -n 's/^Exim version \\([^ ]*\\).*/Exim \\1/p'",
    words={"=>": SENT, "->": SENT, "==": DEFERRED, "**": BOUNCED},
)
POSTFIX = Mta(
    name="postfix",
    answers=f"""\
postfix postfix/main_mailer_type select Internet Site
postfix postfix/mailname string {LOCAL}
""",
    log="journalctl --no-pager -o cat -t postfix/qmgr -t postfix/smtp -t postfix/onion/lmtp -t postfix/error"
    " -t postfix/local -t postfix/pickup -t postfix/trivial-rewrite -t postfix/cleanup -t postfix/bounce",
    outcome=r"to=<{}>,.* status=(sent|deferred|bounced)",
    flush="postqueue -f",
    queue="postqueue -p",
    version="postconf -h mail_version | sed 's/^/Postfix /'",
)
MTAS = {mta.name: mta for mta in (EXIM, POSTFIX)}
