"""Looking at this host: each source by itself, within a time of its own."""
