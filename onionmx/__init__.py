"""Mail between servers over Tor onion services."""

__version__ = "0.1.0"
