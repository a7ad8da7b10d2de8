"""A Valkey or Redis server: commands, transactions, and its errors in words that an operator can act on."""

import socket
import ssl
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from valkey import Connection, ConnectionPool, Valkey
from valkey.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    ValkeyError,
    WatchError,
)

from onionmx.config.store import STORE_USERS, TLS, ValkeyAddress
from onionmx.credential import read_named_secret
from onionmx.errors import ConfigurationError, HostError, OwnerError, StateError
from onionmx.net.names import find_host
from onionmx.net.owner import ListenerOwner
from onionmx.net.tls import verifying_context
from onionmx.sync.state.encoding import UnreadableError

PREFIX = "onionmx:"
"""Of all keys."""
RECORDS = f"{PREFIX}records"
NOTES = f"{PREFIX}notes"
PINS = f"{PREFIX}pins"
LISTS = f"{PREFIX}lists"
VERSION = f"{PREFIX}version"
RECORD, EVENT, PIN, NOTE, LIST = "record", "history", "pin", "note", "list"
"""Entries that have a MAC where there is a key."""
FIRST_SEEN = struct.Struct(">d")
"""In front of a record; alone where nothing else is known of a domain, and then without a MAC."""
CONNECT_TIMEOUT = 10.0  # seconds
TIMEOUT = 60.0  # seconds for one answer; the longest is that to a list of a million new domains

_REASONS: dict[type[ValkeyError], str] = {
    AuthenticationError: "the server refuses us ({words}): check user and password, in sync.store_password_file",
    NoPermissionError: "the server forbids it ({words}): its ACL must allow all commands on the keys onionmx:*",
    BusyLoadingError: "the server is starting and reads its data; run again later",
    ReadOnlyError: "the server is a replica: name the primary",
    OutOfMemoryError: "the server has no memory left, raise its maxmemory; nothing of the last step was written",
    ResponseError: "the server refuses: {words}",
    InvalidResponse: "this is no Valkey or Redis server ({words})",
}
"""The more special ones first."""
_COMMAND_END = "of pipeline caused error: "
_LONGEST = 300  # characters of what the server, or the library, says
_UNREACHABLE = "the server cannot be reached ({words})"

Part = str | bytes | int | float
Command = tuple[Part, ...]
"""Name and arguments."""


def history_of(domain: str) -> str:
    """The key of the history of a domain."""
    return f"{PREFIX}history:{domain}"


def text_of(text: bytes) -> str:
    """Read text.

    Raises:
        UnreadableError: it is none.
    """
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{text[:80]!r} is not UTF-8") from error


class LostLockError(Exception):
    """The value that guards a transaction has changed."""


@dataclass(frozen=True, slots=True)
class Precondition:
    """A key that must have this value when a transaction is carried out."""

    key: str
    value: bytes


class ValkeyConnection:
    """A server, asked by one thread or by several. It is connected to when it is asked first.

    Args:
        password_file: with the password, or the name of a credential; empty for none.
        ca_file: with the CAs for TLS, in PEM; empty for those of the system.
        users: who may listen there besides root where it is on this host and has no certificate; see `ListenerOwner`.
        timeout: seconds for one answer.

    Raises:
        ConfigurationError: the password or the CAs cannot be read.
    """

    def __init__(
        self,
        address: ValkeyAddress,
        *,
        password_file: str = "",
        ca_file: str = "",
        users: Sequence[str] = STORE_USERS,
        timeout: float = TIMEOUT,
    ) -> None:
        self.address = address
        special: dict[str, Any] = {"users": users}
        if address.is_tls:
            special = {"context": verifying_context(ca_file, "sync.store_ca_file")}
        pool = ConnectionPool(
            connection_class=_TlsConnection if address.is_tls else _LocalConnection,
            host=address.host,
            port=address.port,
            db=address.database,
            username=address.user or None,
            password=_password(password_file),
            socket_timeout=timeout,
            socket_connect_timeout=min(timeout, CONNECT_TIMEOUT),
            lib_name=None,
            lib_version=None,
            **special,
        )
        self._client: Any = Valkey.from_pool(pool)  # the library has types for a part of what it does

    def ask(self, *command: Part) -> Any:  # noqa: ANN401 -- what a command answers depends on the command
        """Send one command.

        Raises:
            StateError: the server cannot be asked, or refuses.
        """
        with self.translated():
            return self._client.execute_command(*command)

    def commit(self, commands: Iterable[Command], guard: Precondition | None = None) -> list[Any]:
        """Carry out all commands or none, with nothing of others between them (MULTI).

        Args:
            commands: sent together at the end.
            guard: what must hold at that moment.

        Returns:
            The answers.

        Raises:
            LostLockError: the guard does not hold; nothing was done.
            StateError: the server cannot be asked, or refuses.
        """
        with self.translated(), self._client.pipeline(transaction=True) as pipeline:
            if guard:
                pipeline.watch(guard.key)
                if pipeline.execute_command("GET", guard.key) != guard.value:
                    raise LostLockError
                pipeline.multi()
            for command in commands:
                pipeline.execute_command(*command)
            try:
                return list(pipeline.execute())
            except WatchError as error:
                raise LostLockError from error

    def send(self, commands: Iterable[Command]) -> None:
        """Carry out commands one after the other, of which others may see a part.

        Raises:
            StateError: the server cannot be asked, or refuses.
        """
        with self.translated(), self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            pipeline.execute()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what goes wrong into a `StateError` that says what to do."""
        try:
            yield
        except UnreadableError as error:
            raise StateError(
                f"state {self.address}: {error}: restore it from a backup, or delete all keys that start with "
                f"{PREFIX} to start anew; the map of this host stays"
            ) from error
        except OwnerError as error:
            raise StateError(
                f"state {self.address}: {error}; if it is your server, name its user in sync.store_users; the map of "
                "this host stays"
            ) from error
        except HostError as error:
            raise StateError(f"state {self.address}: {error}; the map of this host stays") from error
        except ValkeyError as error:
            raise StateError(f"state {self.address}: {_described(error)}; the map of this host stays") from error


class _FoundConnection(Connection):
    """The library would find the host by itself, and perhaps at other addresses than those that were looked at."""

    def _connect(self) -> socket.socket:
        failures: list[OSError | OwnerError] = []
        for host in find_host(self.host, anywhere=True):
            try:
                return self._connect_to(host)
            except (OSError, OwnerError) as error:
                failures.append(error)
        raise next((each for each in failures if isinstance(each, OwnerError)), failures[0])

    def _connect_to(self, address: str) -> socket.socket:
        name, self.host = self.host, address
        try:
            connected: socket.socket = super()._connect()  # type: ignore[no-untyped-call]
        finally:
            self.host = name
        return connected


class _LocalConnection(_FoundConnection):
    """Without TLS the server is on this host, where any user can listen on its port while it is down."""

    def __init__(self, *, users: Sequence[str], **settings: Any) -> None:  # noqa: ANN401 -- passed on as they come
        self._users = users
        super().__init__(**settings)  # type: ignore[no-untyped-call]

    def _connect_to(self, address: str) -> socket.socket:
        if not ip_address(address).is_loopback:
            raise HostError(f"{self.host} is {address} here, which is another host: expected {TLS}://, or 127.0.0.1")
        listener = ListenerOwner(address, self.port, self._users)
        connected = super()._connect_to(address)
        try:
            listener.confirm(connected)
        except BaseException:
            connected.close()
            raise
        return connected


class _TlsConnection(_FoundConnection):
    """The library's own makes its contexts itself: they differ by Python, and trust the system beside a file of CAs."""

    def __init__(self, *, context: ssl.SSLContext, **settings: Any) -> None:  # noqa: ANN401 -- passed on as they come
        self._context = context
        super().__init__(**settings)  # type: ignore[no-untyped-call]

    def _connect(self) -> socket.socket:
        connected = super()._connect()
        try:
            return self._context.wrap_socket(connected, server_hostname=self.host)
        except OSError:
            connected.close()
            raise


def _described(error: ValkeyError) -> str:
    # A server's words are a stranger's; the library puts the command, which may be long, in front of them.
    words = repr(str(error).rpartition(_COMMAND_END)[2][:_LONGEST])
    if isinstance(error, ResponseError) and "unknown command" in str(error):
        return f"the server is too old ({words}): Valkey 7.2 or Redis 7.0 at least is needed"
    reason = next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), _UNREACHABLE)
    return reason.format(words=words)


def _password(file: str) -> str | None:
    if not file:
        return None
    try:
        password = read_named_secret(file, "the store's password").decode().strip()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the store's password {file} is not UTF-8") from error
    if not password:
        raise ConfigurationError(f"the store's password {file} is empty")
    return password
