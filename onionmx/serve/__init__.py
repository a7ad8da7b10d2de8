"""The lookup daemon: answers an MTA over its own protocols."""
