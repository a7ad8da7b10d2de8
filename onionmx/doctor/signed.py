"""Domains whose route was signed when it was taken, read by the user who owns the state, not by root.

In a folder of another user root would follow his links, and SQLite would write what his database asks for.
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from onionmx.config import Configuration
from onionmx.errors import OnionmxError
from onionmx.sync.setup import is_shared, opened_store, store_setting
from onionmx.target import Trust

_TIMEOUT = 20.0  # seconds


def signed_routes(configuration: Configuration) -> list[str]:
    """The domains in alphabetical order; none where the state cannot be read."""
    if is_shared(configuration.sync):
        return _read(configuration)
    try:
        folder = Path(store_setting(configuration)).parent.stat()
    except OSError:
        return []
    if os.geteuid() != 0 or folder.st_uid == 0:
        return _read(configuration)
    command = [sys.executable, "-I", "-m", __name__]
    try:
        done = subprocess.run(  # noqa: S603 -- this program
            command,
            input=msgspec.json.encode(configuration),
            capture_output=True,
            check=True,
            cwd="/",
            timeout=_TIMEOUT,
            user=folder.st_uid,
            group=folder.st_gid,
            extra_groups=[],
        )
        return msgspec.json.decode(done.stdout, type=list[str])
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return []


def _read(configuration: Configuration) -> list[str]:
    with suppress(OnionmxError), opened_store(configuration, to_write=False) as store:
        return [
            record.domain
            for record in store.routed()
            if record.established is not None and record.established.trust is Trust.DNSSEC
        ]
    return []


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Configuration)
    sys.stdout.buffer.write(msgspec.json.encode(_read(given)))
