"""What systemd and a service tell each other: readiness (sd_notify(3)), sockets (sd_listen_fds(3)), the watchdog."""

import logging
import os
import socket
import time

_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_SOCKET_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

READY, STOPPING, WATCHDOG = "READY=1", "STOPPING=1", "WATCHDOG=1"
"""States of sd_notify(3)."""

_logger = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send a state such as `READY=1`; nothing happens where no service manager listens.

    Args:
        state: assignments of sd_notify(3), one a line.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket is written with @ for the NUL
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto(state.encode(), address)
    except OSError as error:
        _logger.warning("the service manager cannot be told %s: %s", state.partition("\n")[0], error)


def reloading() -> str:
    """The state that says that the configuration is being read again; `READY` says that this is over."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def watchdog_seconds() -> float | None:
    """Seconds after which systemd takes the service for dead without a `WATCHDOG=1` (sd_watchdog_enabled(3))."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None


def inherited_sockets() -> list[tuple[str, socket.socket]]:
    """Take the sockets that systemd, or what plays it, has handed over to this very process; once.

    Returns:
        Each with the name that FileDescriptorName= gives it, in the order in which they came.
    """
    pid, number, names = (os.environ.pop(variable, "") for variable in _SOCKET_VARIABLES)
    if pid != str(os.getpid()) or not number.isdecimal():
        return []
    given = names.split(":")
    found = []
    for index in range(int(number)):
        descriptor = _FIRST_DESCRIPTOR + index
        os.set_inheritable(descriptor, False)  # noqa: FBT003 -- os's own signature
        found.append((given[index] if index < len(given) else "", socket.socket(fileno=descriptor)))
    return found
