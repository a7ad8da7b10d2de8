"""Options and output that the subcommands of `onionmx onion` share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from onionmx.cli.options import Seconds
from onionmx.config import Configuration

_UPLOAD_TIMEOUT = 60.0  # seconds; introduction points and uploads take 10 to 30 on the public network
directory_option = click.option(
    "--directory", metavar="DIR", help="Folder of its key and host name (default: onion.directory)."
)
wait_option = click.option(
    "--wait",
    type=Seconds(0, 3600),
    default=_UPLOAD_TIMEOUT,
    show_default=True,
    help="Seconds to wait until the descriptor is published; 0 not to wait.",
)


def folder_of(configuration: Configuration, directory: str | None) -> Path:
    """The HiddenServiceDir that the command line or the configuration names."""
    return Path(directory or configuration.onion.directory)


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Say on a terminal what takes its time; nothing in cron."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield
