"""Domains whose route was signed when it was taken, read by the user who owns the state, not by root.

In a folder of another user root would follow his links, and SQLite would write what his database asks for.
"""

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from onionmx.config import Configuration
from onionmx.errors import EXIT_TEMPORARY, OnionmxError, TemporaryError
from onionmx.smtp.printable import printable
from onionmx.sync.setup import is_shared, opened_store, store_setting
from onionmx.target import Trust

_TIMEOUT = 20.0  # seconds


def signed_routes(configuration: Configuration) -> list[str]:
    """The domains in alphabetical order; none where there is no state.

    Raises:
        OnionmxError: the state cannot be read.
    """
    if is_shared(configuration.sync):
        return _read(configuration)
    path = Path(store_setting(configuration)).parent
    try:
        folder = path.stat()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TemporaryError(f"{path} cannot be looked at: {error.strerror}") from error
    if os.geteuid() != 0 or folder.st_uid == 0:
        return _read(configuration)
    command = [sys.executable, "-I", "-m", __name__]
    try:
        done = subprocess.run(  # noqa: S603 -- this program
            command,
            input=msgspec.json.encode(configuration),
            capture_output=True,
            check=False,
            cwd="/",
            timeout=_TIMEOUT,
            user=folder.st_uid,
            group=folder.st_gid,
            extra_groups=[],
        )
    except OSError as error:
        raise TemporaryError(f"the state is not read as its owner, user {folder.st_uid}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(f"the state was not read within {_TIMEOUT:g} s") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").splitlines() or [f"exit code {done.returncode}"]
        raise TemporaryError(printable(said[-1]))
    return msgspec.json.decode(done.stdout, type=list[str])


def _read(configuration: Configuration) -> list[str]:
    with opened_store(configuration, to_write=False) as store:
        return [
            record.domain
            for record in store.routed()
            if record.established is not None and record.established.trust is Trust.DNSSEC
        ]


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Configuration)
    try:
        sys.stdout.buffer.write(msgspec.json.encode(_read(given)))
    except OnionmxError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- for the process that reads it
        sys.exit(EXIT_TEMPORARY)
