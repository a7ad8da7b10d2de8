"""How much mail waits in the queue of the MTA; whereto, no MTA tells without looking at each message."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from onionmx.doctor.command import find_command, output_of
from onionmx.errors import TemporaryError
from onionmx.smtp.printable import printable
from onionmx.status.model import QueueStatus

_CHUNK = 1 << 16  # bytes that are looked at together
_SHOWN = 1000  # bytes of what a program says is wrong


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
        process = await asyncio.create_subprocess_exec(postqueue, "-j", stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    except OSError as error:
        raise TemporaryError(f"postqueue -j cannot be run: {error.strerror}") from error
    assert process.stdout is not None  # noqa: S101 -- a pipe
    assert process.stderr is not None  # noqa: S101
    try:
        # Both to their ends: one that nobody reads would hold the program up, and stay open after it.
        count, errors = await asyncio.gather(_messages(process.stdout), _beginning(process.stderr))
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = printable(" ".join(errors.decode("utf-8", "replace").split()))
        raise TemporaryError(f"postqueue -j failed: {said or f'exit code {process.returncode}'}")
    if count is None:
        raise TemporaryError("postqueue -j printed something else than messages")
    return count


async def _messages(output: asyncio.StreamReader) -> int | None:
    """The number of lines; `None` where one of them is no message in JSON."""
    count, are_messages, before = 0, True, b"\n"
    while chunk := await output.read(_CHUNK):
        text = before + chunk
        begun = text[:-1].count(b"\n")
        count += begun
        are_messages = are_messages and begun == text.count(b"\n{")
        before = chunk[-1:]
    return count if are_messages else None


async def _beginning(output: asyncio.StreamReader) -> bytes:
    """What was said first, as much as is shown."""
    kept = b""
    while chunk := await output.read(_CHUNK):
        kept = (kept + chunk)[:_SHOWN]
    return kept
