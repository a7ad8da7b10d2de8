"""Watching the onion services through which this host receives mail, and renewing those that nobody can reach."""
