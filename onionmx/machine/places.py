"""Where the parts of tor's machine are; the units and settings in deploy/nspawn say the same."""

import os
from pathlib import Path

from onionmx.config import TorSection

ROOTS = Path("/var/lib/onionmx-machine")
"""The roots, and which of them is the machine's."""
STATE = Path("/var/lib/onionmx-tor")
"""tor's state and keys, which outlive every root."""
SETTINGS = Path("/etc/onionmx-tor")
RUNTIME = Path("/run/onionmx-tor")
"""SOCKS and control socket, for the host."""
MTA = Path("/run/onionmx-tor-mta")
"""The MTA's port, for tor."""
NSPAWN = Path("/etc/systemd/nspawn/onionmx-tor.nspawn")
MACHINE = "onionmx-tor"
UNIT = f"{MACHINE}.service"
TORRC = SETTINGS / "torrc"
USER, USER_IN_MACHINE = 1869479937, 1
"""tor's user, as the host and as the machine know it: PrivateUsers= lies between the two."""
CONTROL = TorSection(control=f"unix:{RUNTIME}/control", user=str(USER), torrc=str(TORRC))
"""How the control socket is asked."""


def prepare() -> None:
    """Make the folders that the machine has in common with the host, where they are missing.

    Raises:
        OSError: one cannot be made.
    """
    for path, mode, user in ((STATE, 0o700, USER), (RUNTIME, 0o755, USER), (MTA, 0o755, 0)):
        if not path.exists():
            path.mkdir(mode)
            os.chown(path, user, user)
            path.chmod(mode)
