"""A question about the state of sync, asked by the user who owns it, not by root.

In a folder of another user root would follow his links, and SQLite would write what his database asks for. It is a
process of its own, so that a database that hangs can be left behind.
"""

import os
import subprocess
import sys
from collections.abc import Callable

import msgspec

from onionmx.config import Configuration
from onionmx.errors import EXIT_TEMPORARY, OnionmxError, TemporaryError
from onionmx.smtp.printable import printable


def ask_as_owner(module: str, configuration: Configuration, owner: os.stat_result | None, limit: float) -> bytes:
    """What a module answers that calls `answer_as_owner` when it is run.

    Args:
        module: its name.
        configuration: that it is given.
        owner: whose user and group it is asked as; `None` to ask as the user that this is.
        limit: seconds.

    Returns:
        JSON.

    Raises:
        TemporaryError: the state cannot be read.
    """
    identity: dict[str, object] = {}
    if owner is not None:
        identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    try:
        done = subprocess.run(  # type: ignore[call-overload] # noqa: S603 -- this program
            [sys.executable, "-I", "-m", module],
            input=msgspec.json.encode(configuration),
            capture_output=True,
            check=False,
            cwd="/",
            timeout=limit,
            **identity,
        )
    except OSError as error:
        whose = "" if owner is None else f" as its owner, user {owner.st_uid}"
        raise TemporaryError(f"the state is not read{whose}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(f"the state was not read within {limit:g} s") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").splitlines() or [f"exit code {done.returncode}"]
        raise TemporaryError(printable(said[-1]))
    answer: bytes = done.stdout
    return answer


def answer_as_owner(read: Callable[[Configuration], object]) -> None:
    """Be the process that `ask_as_owner` starts.

    Args:
        read: finds the answer, which JSON can hold.
    """
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Configuration)
    try:
        sys.stdout.buffer.write(msgspec.json.encode(read(given)))
    except OnionmxError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- for the process that reads it
        sys.exit(EXIT_TEMPORARY)
