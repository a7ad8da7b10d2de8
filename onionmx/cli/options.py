"""Options and output that several subcommands share."""

import logging
import math
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from onionmx.config import Configuration
from onionmx.errors import UsageError
from onionmx.files import read_regular
from onionmx.log.handlers import is_structured


class Seconds(click.FloatRange):
    """A number of seconds. `nan` is none: it is in every range, and no time ever reaches it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 -- click's
        """See `click.ParamType`."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


def _load(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Configuration:
    return Configuration.load(value)


_config_option = partial(
    click.option,
    "--config",
    metavar="FILE",
    type=click.Path(readable=False, path_type=Path),  # whether it can be read is for Configuration.load to say
    help="Configuration file (default: $ONIONMX_CONFIG, /etc/onionmx/onionmx.toml, or none). FILE.d/*.toml add to it.",
)
configuration_option = _config_option("configuration", callback=_load)
file_option = _config_option("file")
"""For a daemon, which reads the file again at SIGHUP."""
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Log more of what happens on the way.")
map_option = click.option("--map", "map_path", metavar="FILE", help="The map (default: map.path of the configuration).")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def write_json(value: Any) -> None:  # noqa: ANN401 -- anything that JSON can hold
    """Print a value as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def warn(words: str) -> None:
    """Say on standard error what is wrong, without stopping the command."""
    if is_structured():
        logging.getLogger("onionmx").warning("%s", words)
    else:
        click.echo(f"onionmx: {words}", err=True)


def read_input(name: str, *, is_configured: bool = False) -> tuple[str, bytes]:
    """Read a file that the command line names, `-` being standard input.

    Args:
        is_configured: the configuration names it, and nobody who waits at a FIFO: it must be a regular file.

    Returns:
        The name to use in messages, and the content.

    Raises:
        UsageError: it cannot be read.
    """
    if name == "-":
        return "standard input", sys.stdin.buffer.read()
    try:
        return name, read_regular(Path(name)) if is_configured else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error


def with_map(configuration: Configuration, map_path: str | None) -> Configuration:
    """The configuration, with the map that the command line names; what is made of the map is made of no other one.

    Args:
        map_path: however it is written, the configured map is that one; `None` for it too.
    """
    if map_path is None or os.path.realpath(map_path) == os.path.realpath(configuration.map.path):
        return configuration
    settings = msgspec.structs.replace(configuration.map, path=map_path, transport_path="", exports=())
    sync = msgspec.structs.replace(configuration.sync, after=())
    return msgspec.structs.replace(configuration, map=settings, sync=sync)
