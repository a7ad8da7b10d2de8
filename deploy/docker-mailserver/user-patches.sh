#!/bin/bash
# docker-data/dms/config/user-patches.sh of docker-mailserver 15.1, which runs it before Postfix starts.
#
# Not in postfix-main.cf and postfix-master.cf: the one is filtered by postconf -n before the transport is there, the
# other can change services and add none.
set -eu

# The time limits are above the relay's deadline of 540 seconds; no fallback, and no DNS for the relay's name.
postconf -Me 'onion/unix=onion unix - - n - 100 lmtp'
postconf -Pe \
  onion/unix/syslog_name=postfix/onion \
  onion/unix/lmtp_data_xfer_timeout=600s \
  onion/unix/lmtp_data_done_timeout=600s \
  onion/unix/lmtp_fallback_relay= \
  onion/unix/lmtp_tls_security_level=none \
  onion/unix/lmtp_host_lookup=native

# Your own domains first, so that mail for them does not wait when the lookups are down. A pattern, because Postfix looks
# for whole addresses in all tables before it looks for a domain in one of them.
postconf -e \
  'transport_maps = regexp:{ { /(^|@)example\.org$$/ : } } socketmap:inet:onionmx-serve:10027:transport' \
  'onion_destination_concurrency_limit = 100' \
  'onion_initial_destination_concurrency = 20'
