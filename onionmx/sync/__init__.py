"""Finding out which domains have an onion MX, and keeping the map."""
