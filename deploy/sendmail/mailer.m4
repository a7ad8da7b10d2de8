dnl What both ways need: send.m4 and receive.m4 include it.
ifdef(`_ONIONMX_', `', `define(`_ONIONMX_')
dnl No host name of an address is looked up in DNS before the mailer is chosen, and no name under .onion ever.
FEATURE(`nocanonify')
define(`confDIRECT_SUBMISSION_MODIFIERS', `CC u')
LOCAL_CONFIG
CPonion
LOCAL_NET_CONFIG
R$* <@ $* onion . > $*	$# onionmx $@ [127.0.0.1] $: $1 <@ $2 onion . > $3
dnl LMTP (z) to the relay, whatever the host is. Lines may be as long as RFC 5321 allows.
MAILER_DEFINITIONS
Monionmx, P=[IPC], F=mDFMuXzk8, S=EnvFromSMTP/HdrFromSMTP, R=EnvToSMTP/HdrFromSMTP, E=\r\n, L=998,
	T=DNS/RFC822/SMTP,
	A=TCP [127.0.0.1] 10026
divert(0)')dnl
