"""Where the domains that sync asks about come from."""
