"""A real mail server as the receiver of the relay: what it announces, and what the relay makes of it."""
