"""Hosts that the configuration names, found by the system: /etc/hosts, the DNS of containers, all of nsswitch.conf(5).

Nothing else asks the system for a name, and what is asked for here is written in the configuration: never the domain of
a message, and never a name under .onion.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from onionmx.config.address import is_address
from onionmx.errors import HostError
from onionmx.net.addresses import is_public
from onionmx.onion import is_for_tor_alone

WITHIN = 5.0
"""Seconds for the system to answer; a daemon that reloads waits meanwhile, and so does everyone who uses it."""
_AGAIN = 1.0  # seconds before the system is asked again, however many connections fail meanwhile


def find_host(host: str, *, anywhere: bool = False, within: float = WITHIN) -> tuple[str, ...]:
    """The addresses of a host, in the order in which the system would have them tried (RFC 6724).

    Anyone who answers for a name chooses where it leads. So without proof of who is there, addresses in the open
    internet are left out: one wrong answer, or a search list in /etc/resolv.conf, would send mail and questions there.

    Args:
        host: an IP address, which is given back; or a name in normal form.
        anywhere: take public addresses too, as what is there has to prove itself by a certificate.
        within: seconds.

    Raises:
        HostError: the system does not know it or did not answer, or there is no address that may be used.
    """
    if is_address(host):
        return (host,)
    if is_for_tor_alone(host):
        raise HostError(f"{host} is a name for Tor, and is asked nowhere else")
    known = [address for address in map(_plain, _asked(host, within)) if not _is_nowhere(address)]
    found = tuple(dict.fromkeys(address for address in known if anywhere or not is_public(address)))
    if found:
        return found
    if known:
        raise HostError(
            f"host {host} has the public address {known[0]}, and what is sent there would cross the open internet: "
            "write the address itself if that is meant"
        )
    raise HostError(f"host {host} has no address")


class Host:
    """The addresses of one host: found once, and again after no connection to them could be made.

    Belongs to one event loop.

    Args:
        name: an IP address or a name.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, name: str, now: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._now = now
        self._addresses: tuple[str, ...] = (name,) if is_address(name) else ()
        self._found_at = now()
        self._finding: asyncio.Task[tuple[str, ...]] | None = None

    def find(self) -> None:
        """Find them now.

        Raises:
            HostError: see `find_host`.
        """
        self._addresses = find_host(self.name)
        self._found_at = self._now()

    async def addresses(self) -> tuple[str, ...]:
        """Those that were found; they are found first where there are none.

        Raises:
            HostError: see `find_host`.
        """
        if self._addresses:
            return self._addresses
        if self._finding is None:
            self._finding = asyncio.create_task(asyncio.to_thread(find_host, self.name))
            self._finding.add_done_callback(self._found)
        return await asyncio.shield(self._finding)  # one that gives up leaves it to the others

    def failed(self) -> None:
        """Have them found again when they are next needed: a container that was started again may have others."""
        if not is_address(self.name) and self._now() - self._found_at >= _AGAIN:
            self._addresses = ()

    def _found(self, finding: "asyncio.Task[tuple[str, ...]]") -> None:
        self._finding = None
        if not finding.cancelled() and finding.exception() is None:
            self._addresses = finding.result()
            self._found_at = self._now()


def _asked(host: str, within: float) -> list[str]:
    """In a thread, as the system has no time limit that could be set."""
    answers: list[list[str] | OSError | UnicodeError] = []

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answers.append(error)
        else:
            answers.append([str(address[0]) for *_, address in found])

    thread = threading.Thread(target=ask, name=f"finding {host}", daemon=True)
    thread.start()
    thread.join(within)
    if not answers:
        raise HostError(f"host {host}: the system did not find it within {within:g} s")
    [answer] = answers
    if isinstance(answer, list):
        return answer
    words = answer.strerror if isinstance(answer, OSError) else None
    raise HostError(f"host {host} cannot be found: {words or answer}") from answer


def _plain(address: str) -> str:
    """IPv4 in its own form (RFC 4291 section 2.5.5.2), by which this machine is told from others."""
    read = ip_address(address)
    return str(read.ipv4_mapped or read) if isinstance(read, IPv6Address) else str(read)


def _is_nowhere(address: str) -> bool:
    """Whether no host has it: lists of blocked hosts lead to 0.0.0.0, which would be this machine."""
    read = ip_address(address)
    return read.is_unspecified or read.is_multicast
