"""The SMTP and LMTP client: a core without I/O and the session around it."""
