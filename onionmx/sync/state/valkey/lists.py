"""The domains in the logs of each of several hosts that share a store: the host that asks DNS asks for those of all.

Each host writes its own field and no other, so that nobody waits for a lock.
"""

import struct
import zlib
from collections.abc import Mapping

from onionmx.clock import Timestamp
from onionmx.defaults import DAY
from onionmx.domain import shown
from onionmx.sync.state.encoding import UnreadableError
from onionmx.sync.state.keyed import Seal
from onionmx.sync.state.valkey.server import LIST, LISTS, ValkeyConnection

_TIME = struct.Struct(">d")
_REFRESH = DAY  # seconds after which the same list is written again, to tell that its host is there
MOST_OF_A_LIST = 1 << 26  # bytes of one list; a million domains take a third of it
_MOST_OF_ALL = 1 << 28  # bytes of all together
_MOST_HOSTS = 1000


class HostLists:
    """Lists of domains by host.

    Args:
        server: where they are; closed with this.
        seal: of each.
    """

    def __init__(self, server: ValkeyConnection, seal: Seal | None = None) -> None:
        self._server = server
        self._seal = seal or Seal()

    def exchange(
        self, host: str, own: bytes | None, now: Timestamp, *, forget_after: float, to_write: bool = True
    ) -> Mapping[str, bytes]:
        """Give the list of this host, and take those of all.

        Args:
            own: its domains, one a line; `None` where it has no logs.
            forget_after: seconds after which the list of a host that gives none any more counts for nothing.
            to_write: else nothing is changed on the server, and only the answer is as if.

        Returns:
            The lists by host, in the order of their names.

        Raises:
            StateError: the server cannot be asked, or what it holds cannot be read.
        """
        with self._server.translated():
            known = self._read(self._server.ask("HGETALL", LISTS))
        gone = {name for name, (at, _) in known.items() if at < now - forget_after}
        lists = {name: content for name, (_, content) in known.items() if name not in gone | {host}}
        if own is None:
            gone |= {host} & known.keys()
        else:
            lists[host] = own
        if to_write:
            if gone:
                self._server.ask("HDEL", LISTS, *sorted(gone))
            if own is not None and not _is_fresh(known.get(host), own, now):
                value = self._seal.close(LIST, host, _TIME.pack(now) + zlib.compress(own))
                self._server.ask("HSET", LISTS, host, value)
        return {name: lists[name] for name in sorted(lists)}

    def _read(self, values: Mapping[bytes, bytes]) -> dict[str, tuple[float, bytes]]:
        if len(values) > _MOST_HOSTS:
            raise UnreadableError(f"{len(values)} hosts have lists there, {_MOST_HOSTS} at most are possible")
        known: dict[str, tuple[float, bytes]] = {}
        left = _MOST_OF_ALL
        for name, value in values.items():
            host = _text(name)
            known[host] = read_list(host, self._seal.open(LIST, host, value, MOST_OF_A_LIST), min(left, MOST_OF_A_LIST))
            left -= len(known[host][1])
        return known

    def close(self) -> None:
        """Close the connections."""
        self._server.close()


def _is_fresh(known: tuple[float, bytes] | None, own: bytes, now: Timestamp) -> bool:
    return known is not None and known[1] == own and abs(now - known[0]) < _REFRESH


def _text(name: bytes) -> str:
    return name.decode(errors="replace")


def read_list(host: str, value: bytes, most: int = MOST_OF_A_LIST) -> tuple[float, bytes]:
    """When a host gave its list, and the list.

    Args:
        host: whose it is.
        value: what the store has, opened.
        most: bytes that it may have.

    Raises:
        UnreadableError: it is something else, or too long.
    """
    decompressor = zlib.decompressobj()
    try:
        (at,) = _TIME.unpack_from(value)
        content = decompressor.decompress(value[_TIME.size :], most + 1)
    except (struct.error, zlib.error) as error:
        raise UnreadableError(f"the list of {shown(host)} is damaged") from error
    if len(content) > most:
        raise UnreadableError(f"the list of {shown(host)}, with those of the others, is longer than is possible")
    if not decompressor.eof:
        raise UnreadableError(f"the list of {shown(host)} is damaged")
    return at, content
