"""Open sessions to onion MXes, and how long to leave one that fails alone."""
