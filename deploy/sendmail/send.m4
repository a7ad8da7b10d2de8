dnl Mail for a domain with an onion MX goes to the relay: included in sendmail.mc below DOMAIN. See docs/other-mtas.md.
include(`/etc/mail/onionmx/mailer.m4')dnl
dnl Without -T: Sendmail defers when a map cannot tell. With -T a failure becomes part of the name, and mail bounces.
LOCAL_CONFIG
Konionmx socket inet:10027@127.0.0.1
Kmailertable_file hash -o /etc/mail/mailertable
FEATURE(`mailertable', `sequence mailertable_file onionmx')dnl
divert(0)dnl
