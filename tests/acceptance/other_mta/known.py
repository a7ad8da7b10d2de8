"""The MTAs of this room, as their administrators use them."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.acceptance.mta import BOUNCED, DEFERRED, SENT, USER, Mta
from tests.acceptance.world import LOCAL


@dataclass(frozen=True)
class OtherMta(Mta):
    """An MTA of docs/other-mtas.md.

    Args:
        heading: of its section there.
    """

    heading: str = ""


OPENSMTPD = OtherMta(
    name="opensmtpd",
    heading="OpenSMTPD",
    before=f"""sed -i 's,^# \\(match from any for domain \\)"example.org",\\1"{LOCAL}",' /etc/smtpd.conf
systemctl restart opensmtpd""",
    answers=f"opensmtpd opensmtpd/mailname string {LOCAL}\n",
    log="journalctl --no-pager -o cat -t smtpd",
    outcome=r" to=<{}> .* result=\"(\w+)\"",
    words={"Ok": SENT, "TempFail": DEFERRED, "PermFail": BOUNCED},
    flush="smtpctl schedule all",
    queue="smtpctl show queue",
    waiting="smtpctl show queue",
    version="dpkg-query -W -f 'OpenSMTPD ${Version}' opensmtpd",
    mailbox=f"cat /home/{USER}/Maildir/new/*",
)
OTHERS: Mapping[str, OtherMta] = {mta.name: mta for mta in (OPENSMTPD,)}
