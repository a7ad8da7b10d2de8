"""What sync remembers of each domain between its runs."""
