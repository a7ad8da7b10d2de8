"""The same look again and again, until somebody ends it: `--watch` of several commands."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

from onionmx.errors import EXIT_TEMPORARY
from onionmx.probe.watch import watch

T = TypeVar("T")


async def repeat(
    look: Callable[[], Awaitable[T]], interval: float, show: Callable[[T], None], exit_code_of: Callable[[T], int]
) -> int:
    """Look until SIGINT or SIGTERM.

    Args:
        look: one round.
        interval: seconds from the beginning of a round to the beginning of the next.
        show: prints what a round saw.
        exit_code_of: that of a round.

    Returns:
        The exit code of the last round, 75 if there was none.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    exit_code = EXIT_TEMPORARY

    def show_and_remember(seen: T) -> None:
        nonlocal exit_code
        exit_code = exit_code_of(seen)
        show(seen)

    await watch(interval, look, show_and_remember, stop)
    return exit_code
