"""The self-test: one message through the local MTA to an echo, and what its answer shows."""
