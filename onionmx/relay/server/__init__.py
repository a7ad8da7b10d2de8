"""The server half of the relay: SMTP and LMTP from the local MTA (RFC 5321, 2033, 2920, 3030), on aiosmtpd.

It delivers nothing. The way in: `transaction.py` is the seam to what does, `session.py` has the commands,
`connection.py` what is under them, `content.py` the way of a message through, `serve.py` wires it.
"""

from onionmx.relay.server.inherited import take_over
from onionmx.relay.server.listener import Listener, listen_tcp, listen_unix
from onionmx.relay.server.serve import Server, serve
from onionmx.relay.server.settings import ServerSettings
from onionmx.relay.server.transaction import Begin, Client, ContentBrokenError, Transaction

__all__ = [
    "Begin",
    "Client",
    "ContentBrokenError",
    "Listener",
    "Server",
    "ServerSettings",
    "Transaction",
    "listen_tcp",
    "listen_unix",
    "serve",
    "take_over",
]
