"""One host at a time: a lock that ends by itself, and a number that tells its present holder from former ones.

A host that was paused for longer than its lock lasts does not know that another one took over. So each taking of the
lock raises a counter, and each write is made only while the counter has the writer's own number ("fencing token").
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from onionmx.domain import shown
from onionmx.errors import LockedError, StateError
from onionmx.sync.state.valkey.server import PREFIX, Precondition, ValkeyConnection

LEASE = 60.0
"""Seconds for which the lock of a host that vanished is kept."""
LOCK = f"{PREFIX}lock"
COUNTER = f"{PREFIX}locks-taken"
_RENEWALS = 4  # in the time of a lease: three may get lost

# No server time is compared with ours, and each script is carried out whole.
_TAKE = """
local holder = redis.call('GET', KEYS[1])
if holder then return {0, holder, redis.call('PTTL', KEYS[1])} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {redis.call('INCR', KEYS[2]), ARGV[1], 0}
"""
# A lock that ended meanwhile is taken back where nobody else has had it since.
_RENEW = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


@contextmanager
def run_lock(server: ValkeyConnection, lease: float = LEASE) -> Iterator[Precondition]:
    """Hold the lock.

    Args:
        lease: seconds; it is renewed several times in that, by a thread.

    Yields:
        What must hold at each write.

    Raises:
        LockedError: another run holds it.
        StateError: the server cannot be asked.
    """
    holder = f"{socket.gethostname()} pid {os.getpid()} {secrets.token_hex(8)}"
    milliseconds = int(lease * 1000)
    number, other, left = server.ask("EVAL", _TAKE, 2, LOCK, COUNTER, holder, milliseconds)
    if not number:
        raise LockedError(
            f"another run is at work on {server.address}: {_without_token(other)}; nothing was changed. Without a sign "
            f"of life from there, the lock ends in {left / 1000:.0f} s"
        )
    ended = Event()
    renewal = (str(milliseconds), str(number))

    def renew() -> None:
        while not ended.wait(lease / _RENEWALS):
            # It may answer again before the lease is over; and if not, the guard keeps us from writing.
            with suppress(StateError):
                if not server.ask("EVAL", _RENEW, 2, LOCK, COUNTER, holder, *renewal):
                    return

    thread = Thread(target=renew, name="onionmx-lock", daemon=True)
    thread.start()
    try:
        yield Precondition(COUNTER, str(number).encode())
    finally:
        ended.set()
        thread.join()
        with suppress(StateError):
            server.ask("EVAL", _RELEASE, 1, LOCK, holder)


def holder(server: ValkeyConnection) -> str:
    """Who holds the lock now, for messages."""
    text = server.ask("GET", LOCK)
    return _without_token(text) if text else "another run, which has ended since"


def _without_token(text: bytes) -> str:
    return shown(text.decode(errors="replace").rpartition(" ")[0])
