"""Asking DNS for onion-MX records."""
