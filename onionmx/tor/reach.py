"""Reaching tor's SOCKS port, over TCP or a unix socket."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

from onionmx.config import UNIX, Address
from onionmx.defaults import AUTO, SOCKS_ADDRESS, SOCKS_SOCKET
from onionmx.errors import OwnerError
from onionmx.net.ends import believed_listener, belongs_to, bind_random
from onionmx.net.names import Host
from onionmx.net.owner import ListenerOwner
from onionmx.net.users import check_unix_peer

_FULL = 0.05  # seconds until a unix socket whose queue is full is tried again; the kernel tells nobody when it has room
_EACH = 10.0  # seconds for one address of several: a host of this network answers at once, or not at all


def socks_in_use(socks: str) -> str:
    """The SOCKS port that `tor.socks` means now, as `IP:PORT`, `NAME:PORT` or `unix:/path`."""
    if socks != AUTO:
        return socks
    return f"{UNIX}{SOCKS_SOCKET}" if is_socket(Path(SOCKS_SOCKET)) else SOCKS_ADDRESS


def is_socket(path: Path) -> bool:
    """Whether there is a unix socket that this user can get at: not every system lets others look into tor's folder."""
    try:
        return path.is_socket()
    except PermissionError:
        return False


async def reach(address: Address, user: str, host: Host | None = None) -> socket.socket:
    """Connect to a port of tor's, on this machine or on another.

    Args:
        address: a host may be a name; its addresses are tried in turn.
        user: `tor.user`, the only one besides root and ourselves who may listen there.
        host: what is known of that name; `None` to find it anew.

    Returns:
        A connected socket in non-blocking mode, which belongs to the caller.

    Raises:
        OSError: there is no connection.
        OwnerError: somebody else listens there, or it cannot be told who; nothing was sent.
        HostError: the name cannot be found.
    """
    if isinstance(address, Path):
        return await _reach(address, user)
    name, port = address
    hosts = await (host or Host(name)).addresses()
    if len(hosts) == 1:
        return await _reach((hosts[0], port), user)
    return await _reach_one_of(hosts, port, user)


async def _reach_one_of(hosts: Sequence[str], port: int, user: str) -> socket.socket:
    """The first that lets us in. Somebody else at one of them gets nothing, and keeps nobody from the others."""
    failures: list[OSError | OwnerError] = []
    for host in hosts:
        try:
            async with asyncio.timeout(_EACH):
                return await _reach((host, port), user)
        except (OSError, OwnerError) as error:  # TimeoutError is one
            failures.append(error)
    raise next((each for each in failures if isinstance(each, OwnerError)), failures[0])


async def _reach(address: Address, user: str) -> socket.socket:
    found = listener = None
    if not isinstance(address, Path):
        found = believed_listener(*address, (user,))
        listener = await _listener(address, user) if found is None else None
    connection = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        connection.settimeout(0)
        if isinstance(address, Path):
            await _connect_unix(connection, address)
            check_unix_peer(connection, str(address), (user,))
        else:
            if found or (listener and listener.is_looked_at):
                bind_random(connection)
            await asyncio.get_running_loop().sock_connect(connection, address)
            if found and not belongs_to(found, connection, (user,)):
                listener = await _listener(address, user)
            if listener and listener.is_looked_at:
                await asyncio.to_thread(listener.confirm, connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


async def _listener(address: tuple[str, int], user: str) -> ListenerOwner:
    """In a thread: tables are looked at that may be long."""
    return await asyncio.to_thread(ListenerOwner, *address, (user,))


def _family(address: Address) -> socket.AddressFamily:
    if isinstance(address, Path):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


async def _connect_unix(connection: socket.socket, path: Path) -> None:
    """A unix socket connects at once or not at all; asyncio takes a full queue for a connection (unix(7), EAGAIN)."""
    while True:
        try:
            connection.connect(str(path))
        except BlockingIOError:
            await asyncio.sleep(_FULL)
        else:
            return
