"""Secrets on a booted machine: who has them, and that sync and publish work with them."""
