"""The domains in the logs of each of several hosts that share a store: whoever asks DNS asks for those of all.

Each host writes its own field and no other, so that nobody waits for a lock.
"""

import struct
import zlib
from collections.abc import Mapping

from onionmx.domain import shown
from onionmx.sync.rules import DAY
from onionmx.sync.state.encoding import UnreadableError
from onionmx.sync.state.valkey_server import PREFIX, Server

_LISTS = f"{PREFIX}lists"
_TIME = struct.Struct(">d")
_REFRESH = DAY  # seconds after which the same list is written again, to tell that its host is there
_MOST = 1 << 28  # bytes of one list; a million domains take a tenth of it


class HostLists:
    """Lists of domains by host.

    Args:
        server: where they are; closed with this.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def exchange(
        self, host: str, own: bytes | None, now: float, *, forget_after: float, to_write: bool = True
    ) -> Mapping[str, bytes]:
        """Give the list of this host, and take those of all.

        Args:
            host: this one.
            own: its domains, one a line; `None` where it has no logs.
            now: seconds since 1970.
            forget_after: seconds after which the list of a host that gives none any more counts for nothing.
            to_write: else nothing is changed on the server, and only the answer is as if.

        Returns:
            The lists by host, in the order of their names.

        Raises:
            StateError: the server cannot be asked, or what it holds cannot be read.
        """
        with self._server.translated():
            answer = self._server.ask("HGETALL", _LISTS)
            known = {
                name: read_list(name, value) for name, value in zip(map(_text, answer), answer.values(), strict=True)
            }
        gone = {name for name, (at, _) in known.items() if at < now - forget_after}
        lists = {name: content for name, (_, content) in known.items() if name not in gone | {host}}
        if own is None:
            gone |= {host} & known.keys()
        else:
            lists[host] = own
        if to_write:
            if gone:
                self._server.ask("HDEL", _LISTS, *sorted(gone))
            if own is not None and not _is_fresh(known.get(host), own, now):
                self._server.ask("HSET", _LISTS, host, _TIME.pack(now) + zlib.compress(own))
        return {name: lists[name] for name in sorted(lists)}

    def close(self) -> None:
        """Close the connections."""
        self._server.close()


def _is_fresh(known: tuple[float, bytes] | None, own: bytes, now: float) -> bool:
    return known is not None and known[1] == own and abs(now - known[0]) < _REFRESH


def _text(name: bytes) -> str:
    return name.decode(errors="replace")


def read_list(host: str, value: bytes) -> tuple[float, bytes]:
    """When a host gave its list, and the list.

    Raises:
        UnreadableError: it is something else.
    """
    decompressor = zlib.decompressobj()
    try:
        (at,) = _TIME.unpack_from(value)
        content = decompressor.decompress(value[_TIME.size :], _MOST)
    except (struct.error, zlib.error) as error:
        raise UnreadableError(f"the list of {shown(host)} is damaged") from error
    if not decompressor.eof:
        raise UnreadableError(f"the list of {shown(host)} is damaged")
    return at, content
