"""The relay over a private Tor network, near and far, with its peers beside it."""
