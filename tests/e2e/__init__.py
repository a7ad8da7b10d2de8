"""End-to-end tests with the real programs: Tor, Exim, Knot DNS and Unbound, all on loopback."""
