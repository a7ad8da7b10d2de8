"""The SMTP client: a core without I/O, and the asyncio shell around it (RFC 5321, 2920, 3030).

The way in: `client.py` has the states of a session, `transaction.py` those of one message on it, `pipeline.py` the
order of commands and replies. `session.py` is the shell that the relay uses.
"""
