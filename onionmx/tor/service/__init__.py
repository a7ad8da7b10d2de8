"""Onion services of this host's tor: create, read, describe."""
