"""The MTAs of this room, as their administrators use them."""

from collections.abc import Mapping

from tests.acceptance.mta import BOUNCED, DEFERRED, HOSTNAME, MAILBOX, SENT, USER
from tests.acceptance.world import LOCAL

from .haraka import HARAKA
from .other import OtherMta

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
# `stat=Sent (...)` is said of mail that a user hands to the daemon, and no more.
SENDMAIL = OtherMta(
    name="sendmail",
    heading="Sendmail",
    # It takes a second more for each one behind the third, and for a mailbox that it has to make.
    guesses=10,
    add_users="""for user in {}; do
    useradd --create-home $user
    install -o $user -g mail -m 660 /dev/null /var/mail/$user
done""",
    faults=("map missing", "daemon down", "relay down", "tor down"),
    # On Debian 13 the unit is not enabled as the package comes.
    before=f"""echo {LOCAL} >>/etc/mail/local-host-names
echo 'postmaster: {USER}' >>/etc/aliases
echo 'From:{LOCAL} OK' >>/etc/mail/access
newaliases
make -C /etc/mail
systemctl enable sendmail
systemctl restart sendmail""",
    answers="",
    log="journalctl --no-pager -o cat SYSLOG_FACILITY=2",
    outcome=r"to=(?:\S+,)?<?{}>?[, ].* stat=(Sent$|queued|Deferred|Service unavailable|User unknown|Host unknown)",
    words={
        "Sent": SENT,
        **dict.fromkeys(("queued", "Deferred"), DEFERRED),
        **dict.fromkeys(("Service unavailable", "User unknown", "Host unknown"), BOUNCED),
    },
    flush="sendmail -q -Ac && sendmail -q",
    queue="mailq -Ac; mailq",
    waiting="{ mailq -Ac; mailq; } | grep -E '^[0-9A-Za-z]{14}'",
    version="dpkg-query -W -f 'Sendmail ${Version}' sendmail-bin",
)
COURIER = OtherMta(
    name="courier",
    heading="Courier",
    tells_at_once=False,
    add_users="""for user in {}; do
    useradd --create-home $user
    su $user -c 'maildirmake ~/Maildir'
done""",
    before=f"""cd /etc/courier
printf '%s\\n' localhost {LOCAL} >locals
echo {LOCAL} >esmtpacceptmailfor.dir/{LOCAL}
echo {HOSTNAME} >me
makeacceptmailfor
sed -i 's/^postmaster:$/postmaster: {USER}/' aliases/system
makealiases
su {USER} -c 'maildirmake ~/Maildir'
systemctl restart courier courier-mta""",
    # Its listener names its port, and nothing that it depends on has the file for that.
    installed="grep -qs '^smtp' /etc/services || printf 'smtp\t25/tcp\n' >>/etc/services",
    answers=f"""\
courier-base courier-base/webadmin-configmode boolean false
courier-mta courier-mta/defaultdomain string {LOCAL}
""",
    log="journalctl --no-pager -o cat -t courierd -t courieresmtp -t courierlocal -t courieresmtpd",
    outcome=r"addr=<{}>,status: (success|deferred|failure)",
    words={"success": SENT, "deferred": DEFERRED, "failure": BOUNCED},
    flush="courier flush",
    queue="mailq",
    waiting="mailq -batch | grep -v '^messages: '",
    version="dpkg-query -W -f 'Courier ${Version}' courier-mta",
    mailbox=f"cat /home/{USER}/Maildir/new/*",
)
CHASQUID = OtherMta(
    name="chasquid",
    heading="chasquid",
    is_sender=False,
    # It does not start without a certificate.
    installed=f"""cd /etc/chasquid
install -d certs/{HOSTNAME} domains/{LOCAL}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN={HOSTNAME} \\
    -keyout certs/{HOSTNAME}/privkey.pem -out certs/{HOSTNAME}/fullchain.pem
chown -R chasquid: certs/{HOSTNAME}
chasquid-util user-add {USER}@{LOCAL} --password=none
printf 'postmaster: {USER}\\n' >domains/{LOCAL}/aliases
chmod -R a+rX domains
printf '%s\\n' 'mail_delivery_agent_bin: "/usr/bin/tee"' 'mail_delivery_agent_args: "-a"' \\
    'mail_delivery_agent_args: "/var/mail/%to_user%"' >>chasquid.conf
install -o chasquid -g chasquid -m 600 /dev/null {MAILBOX}""",
    # Messages apart from each other, as a mailbox of several needs them.
    add_users=f"""cd /etc/chasquid
for user in {{}}; do
    chasquid-util user-add $user@{LOCAL} --password=none
    install -o chasquid -g chasquid -m 600 /dev/null /var/mail/$user
done
chmod -R a+rX domains
cat >/usr/local/bin/to-mailbox <<'END'
#!/bin/sh
exec 9>>"$1"
flock 9
echo 'From chasquid' >&9
sed 's/^>*From />&/' >&9
echo >&9
END
chmod 755 /usr/local/bin/to-mailbox
sed -i '/args: "-a"/d; s,/usr/bin/tee,/usr/local/bin/to-mailbox,' chasquid.conf
systemctl restart chasquid""",
    answers="",
    log="journalctl --no-pager -o cat -t chasquid",
    outcome=r" to={} (sent|failed \((?:temporary|permanent)\))",
    words={"sent": SENT, "failed (temporary)": DEFERRED, "failed (permanent)": BOUNCED},
    flush="systemctl restart chasquid",
    queue="ls -l /var/lib/chasquid/queue",
    version="dpkg-query -W -f 'chasquid ${Version}' chasquid",
)
OTHERS: Mapping[str, OtherMta] = {mta.name: mta for mta in (OPENSMTPD, SENDMAIL, COURIER, CHASQUID, HARAKA)}
