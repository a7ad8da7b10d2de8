"""The SRV records of this host's own domains: written, sent to the primary name server, and looked at afterwards."""
