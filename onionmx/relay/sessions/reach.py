"""Whether an onion MX answers: a session on a circuit of its own, without a message."""

from onionmx.isolation import isolated
from onionmx.net.stream import SocketStream
from onionmx.onion import Endpoint, format_endpoint
from onionmx.smtp.client.opening_session import open_session
from onionmx.smtp.client.states import TlsPolicy
from onionmx.smtp.client.timeouts import Timeouts
from onionmx.tor.socks import SocksConnector


async def reach(connector: SocksConnector, endpoint: Endpoint, hello: str, tls: TlsPolicy, timeouts: Timeouts) -> None:
    """Open a session as far as EHLO, and QUIT.

    Args:
        connector: one that carries no mail: its circuit to this onion is given up first.
        hello: the name for EHLO.
        tls: when to start TLS.
        timeouts: how long the onion MX may be silent.

    Raises:
        TemporaryError: no session came about; see `onionmx.relay.failures`.
    """
    onion, _ = endpoint
    with isolated(format_endpoint(endpoint)):
        connector.renew(onion, connector.isolation(onion))
        stream = await SocketStream.from_socket(await connector.connect(endpoint))
        session = await open_session(stream, hello=hello, tls=tls, timeouts=timeouts)
        await session.close()
