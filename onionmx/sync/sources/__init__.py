"""Where domains come from beside lists: the logs of the MTA, of which nothing is kept but domains and counts."""
