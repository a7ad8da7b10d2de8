"""Connections, and what is the same for all of them."""
