"""Programs of other packages that are asked about themselves."""

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping

from onionmx.errors import TemporaryError
from onionmx.smtp.printable import printable

_PATHS = ("/usr/sbin", "/usr/local/sbin")  # cron's PATH has neither


def find_command(*names: str) -> str | None:
    """The path of the first of these programs that is installed."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_PATHS])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


async def output_of(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """What a program prints; what it says on the standard error is of interest only where it fails.

    Args:
        program: its path.
        arguments: of it.
        environment: variables besides those of this process.

    Raises:
        TemporaryError: it cannot be run, or fails.
    """
    words = " ".join([os.path.basename(program), *arguments])  # noqa: PTH119 -- a word for a message
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env={**os.environ, **(environment or {})},
        )
    except OSError as error:
        raise TemporaryError(f"{words} cannot be run: {error.strerror}") from error
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = printable(" ".join(errors.decode("utf-8", "replace").split()))
        raise TemporaryError(f"{words} failed: {said or f'exit code {process.returncode}'}")
    return output.decode("utf-8", "replace").strip()
