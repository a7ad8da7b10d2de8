"""How much mail waits in the queue of the MTA; whereto, no MTA tells without looking at each message."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from onionmx.doctor.command import find_command, output_of
from onionmx.errors import TemporaryError
from onionmx.smtp.printable import printable
from onionmx.status.model import QueueStatus

_LINE = 1 << 20  # bytes; a message with thousands of recipients has a long one


async def look_at_queue() -> QueueStatus:
    """Ask Postfix (postqueue(1), -j) or Exim (exim(8), -bpc), whichever is installed.

    Raises:
        TemporaryError: it cannot be asked.
    """
    postqueue = find_command("postqueue")
    if postqueue is not None:
        return QueueStatus(mta="Postfix", waiting=await _of_postfix(postqueue))
    exim = find_command("exim4", "exim")
    if exim is None:
        return QueueStatus(why="neither Postfix nor Exim is installed here")
    said = await output_of(exim, "-bpc")
    if not (said.isascii() and said.isdigit()):
        raise TemporaryError(f"{Path(exim).name} -bpc said {printable(said)!r}: expected a number")
    return QueueStatus(mta="Exim", waiting=int(said))


async def _of_postfix(postqueue: str) -> int:
    """The number of messages, of which it prints one a line; a queue may be larger than the memory."""
    try:
        process = await asyncio.create_subprocess_exec(
            postqueue, "-j", stdin=DEVNULL, stdout=PIPE, stderr=PIPE, limit=_LINE
        )
    except OSError as error:
        raise TemporaryError(f"postqueue -j cannot be run: {error.strerror}") from error
    assert process.stdout is not None  # noqa: S101 -- a pipe
    assert process.stderr is not None  # noqa: S101
    try:
        count = 0
        async for line in process.stdout:
            if not line.startswith(b"{"):
                raise TemporaryError("postqueue -j printed something else than messages")
            count += 1
        errors = await process.stderr.read(_LINE)
        await process.wait()
    except ValueError as error:
        raise TemporaryError(f"postqueue -j printed a line of more than {_LINE} bytes") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = printable(" ".join(errors.decode("utf-8", "replace").split()))
        raise TemporaryError(f"postqueue -j failed: {said or f'exit code {process.returncode}'}")
    return count
