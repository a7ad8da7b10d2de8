"""The relay: mail in by SMTP or LMTP from the local MTA, out over Tor to the onion MX."""
