"""Watching onion services."""
