"""Which domains may be let go over the open internet when their onions fail for long, and which are now."""
