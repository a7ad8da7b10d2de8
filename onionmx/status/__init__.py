"""What an operator wants to know of this host, as values and read from those that know it."""
