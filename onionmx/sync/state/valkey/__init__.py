"""The state in a Valkey server, which several hosts share."""
