"""Where mail for a domain goes: the map, live DNS, and what is remembered of both."""
