"""The server half of the relay: SMTP and LMTP from the local MTA (RFC 5321, 2033, 2920, 3030), on aiosmtpd.

It delivers nothing. The way in: `transaction.py` is the seam to what does, `session.py` has the commands,
`connection.py` what is under them, `content.py` the way of a message through, `serve.py` wires it.
"""

from onionmx.smtp.server.inherited import take_over
from onionmx.smtp.server.listener import SmtpListener, listen_tcp, listen_unix
from onionmx.smtp.server.seam import Begin, Client, ContentBrokenError, Transaction
from onionmx.smtp.server.server import SmtpServer, serve
from onionmx.smtp.server.settings import ServerSettings

__all__ = [
    "Begin",
    "Client",
    "ContentBrokenError",
    "ServerSettings",
    "SmtpListener",
    "SmtpServer",
    "Transaction",
    "listen_tcp",
    "listen_unix",
    "serve",
    "take_over",
]
