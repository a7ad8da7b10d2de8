dnl The listener behind the onion service: included in sendmail.mc below DOMAIN. See docs/other-mtas.md.
include(`/etc/mail/onionmx/mailer.m4')dnl
dnl It comes first: a listener at every address would take 127.0.0.2 as well, and let its clients relay.
DAEMON_OPTIONS(`Family=inet, Name=onion-mx, Port=smtp, Addr=127.0.0.2, M=AE')dnl
LOCAL_RULESETS
dnl The domain of a sender is not looked up in DNS.
SLocal_check_mail
R$*			$: $&{daemon_name} $| $1
Ronion-mx $| $* @ $+	$# OK

dnl Clients come from 127.0.0.1, which Relay_ok lets relay; here only Rcpt_ok is asked, which knows the recipients of
dnl this host and says RELAY to them.
SLocal_check_rcpt
R$*			$: $&{daemon_name} $| $1
Ronion-mx $| $*		$: <onion-mx> $>"Rcpt_ok" $1
R<onion-mx> $#TEMP $*	$# error $1
R<onion-mx> $# $*	$# $1
R<onion-mx> RELAY	$@ RELAY
R<onion-mx> $*		$# error $@ 5.7.1 $: "550 Relaying denied"
divert(0)dnl
