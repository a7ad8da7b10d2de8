"""The SRV records of this host's local domains: written, sent to the primary name server, and looked at afterwards."""
