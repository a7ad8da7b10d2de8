#!/bin/bash
# data/hooks/postfix/onionmx.sh of mailcow 2026-07a, mode 0755: its container runs it before Postfix starts.
#
# A transport of its own: that of mailcow for LMTP writes the original recipient into the message (flags=O).
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
