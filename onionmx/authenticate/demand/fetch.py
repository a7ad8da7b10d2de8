"""Fetching an MTA-STS policy (RFC 8461 section 3.3): HTTPS without redirects, parsed by h11."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import h11

from onionmx.authenticate.demand.policy import MAX_POLICY_SIZE, Policy, PolicyError, read_policy
from onionmx.dns.records import RecordResolver
from onionmx.domain import Domain
from onionmx.errors import DnsError, TemporaryError
from onionmx.net.addresses import is_public
from onionmx.onion import Endpoint
from onionmx.smtp.printable import printable
from onionmx.tor.socks import Cause, SocksConnector, SocksError

HTTPS = 443
POLICY_HOST = "mta-sts."
PATH = "/.well-known/mta-sts.txt"

_MAX_HEADER = 16384  # bytes
_READ = 16384
_OK = 200
_THERE_IS_NONE = {404, 410}  # Not Found, Gone

_WORDS = {
    Cause.NOT_ALLOWED: "tor does not allow it: authenticate.socks must name a SocksPort without OnionTrafficOnly, "
    'or authenticate.fetch be "direct"',
    Cause.HOST_UNREACHABLE: "tor found no exit that reaches it",
    Cause.REFUSED: "it refused the connection",
}
"""What the causes mean for a host that is not an onion."""

Connect = Callable[[Endpoint], Awaitable[socket.socket]]
"""Opens a connection to a host and port; raises `FetchError`."""


class FetchError(TemporaryError):
    """The policy could not be fetched; one line of which step failed, and how."""


def through_tor(connector: SocksConnector) -> Connect:
    """Connect through an exit of Tor, which resolves the name.

    Args:
        connector: a SOCKS port without OnionTrafficOnly.
    """

    async def connect(endpoint: Endpoint) -> socket.socket:
        try:
            return await connector.connect(endpoint)
        except SocksError as error:
            raise FetchError(_WORDS.get(error.cause, error.words)) from error

    return connect


def directly(questions: RecordResolver, may_connect: Callable[[str], bool] = is_public) -> Connect:
    """Connect without Tor, to an address that the configured resolvers give.

    The owner of a domain must not make this host talk to itself, or to others in its network.

    Args:
        may_connect: whether an address is one to connect to.
    """

    async def connect(endpoint: Endpoint) -> socket.socket:
        host, port = endpoint
        why = "it has no address"
        for kind in ("AAAA", "A"):
            try:
                answer = await questions.ask(host, kind)
            except DnsError as error:
                why = str(error)
                continue
            for address in (record.to_text() for record in answer.records):
                if not may_connect(address):
                    why = f"{address} is not an address of the internet, and is not connected to"
                    continue
                try:
                    return await _connect_to(address, port)
                except OSError as error:
                    why = f"{address}: {error.strerror or error}"
        raise FetchError(why)

    return connect


async def fetch_policy(
    domain: Domain,
    connect: Connect,
    context: ssl.SSLContext,
    timeout: float,  # noqa: ASYNC109 -- for all of it
) -> Policy | None:
    """Fetch the policy of a domain.

    Args:
        connect: how to reach the policy host.
        context: what verifies its certificate.
        timeout: seconds for all of it.

    Returns:
        The policy; `None` where its host, which has proven its name, says that there is none.

    Raises:
        FetchError: it could not be fetched.
        PolicyError: what is there is no policy.
    """
    host = POLICY_HOST + domain
    try:
        async with asyncio.timeout(timeout):
            return await _fetch(host, await connect((host, HTTPS)), context)
    except TimeoutError as error:
        raise FetchError(f"https://{host}{PATH}: not there within {timeout:g} s") from error
    except (FetchError, PolicyError) as error:
        raise type(error)(f"https://{host}{PATH}: {error}") from error


async def _connect_to(address: str, port: int) -> socket.socket:
    family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6  # noqa: PLR2004
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(0)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return connection


async def _fetch(host: str, connected: socket.socket, context: ssl.SSLContext) -> Policy | None:
    try:
        reader, writer = await asyncio.open_connection(sock=connected, ssl=context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise FetchError(printable(f"its certificate cannot be trusted: {error.verify_message}")) from error
    except ssl.SSLError as error:
        raise FetchError(f"TLS failed: {error.reason or error}") from error
    except OSError as error:
        raise FetchError(f"TLS failed: {error.strerror or 'the connection ended'}") from error
    try:
        return await _Exchange(reader, writer).get(host)
    except h11.ProtocolError as error:
        raise FetchError(printable(f"the answer is not HTTP: {error}")) from error
    except OSError as error:
        raise FetchError(f"the connection failed: {error.strerror or type(error).__name__}") from error
    finally:
        # Without waiting for the peer, who has nothing more to say.
        writer.transport.abort()


class _Exchange:
    """One request and its response."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEADER)

    async def get(self, host: str) -> Policy | None:
        headers = [("Host", host), ("Accept", "text/plain"), ("Connection", "close")]
        for event in (h11.Request(method="GET", target=PATH, headers=headers), h11.EndOfMessage()):
            self._writer.write(self._http.send(event) or b"")
        response = await self._next()
        while isinstance(response, h11.InformationalResponse):
            response = await self._next()
        if not isinstance(response, h11.Response):
            raise FetchError("the connection ended before an answer")
        if response.status_code in _THERE_IS_NONE:
            return None
        if response.status_code != _OK:
            # A redirect must not be followed (RFC 8461 section 3.3).
            raise FetchError(f"answered {response.status_code}; expected {_OK}")
        _check_type(response)
        return read_policy(await self._body())

    async def _body(self) -> bytes:
        body = bytearray()
        while isinstance(event := await self._next(), h11.Data):
            body += event.data
            if len(body) > MAX_POLICY_SIZE:
                break  # the parser says so
        return bytes(body)

    async def _next(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_READ))
            elif event is h11.PAUSED:
                raise FetchError("the host wants another protocol")
            else:
                assert isinstance(event, h11.Event)  # noqa: S101 -- there is no third sentinel
                return event


def _check_type(response: h11.Response) -> None:
    values = [value for name, value in response.headers if name == b"content-type"]
    kind = values[0].split(b";")[0].strip().lower().decode("ascii", "replace") if values else "nothing"
    if kind != "text/plain":
        raise FetchError(printable(f"the content is {kind}; expected text/plain"))
