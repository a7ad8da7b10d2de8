"""The `onionmx` command: one thin module for each subcommand, loaded when it is called."""

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from onionmx import __version__
from onionmx.errors import EXIT_USAGE, OnionmxError

COMMANDS = {
    "cache": "onionmx.cli.cache",
    "config": "onionmx.cli.config",
    "doctor": "onionmx.cli.doctor",
    "domains": "onionmx.cli.domains",
    "explain": "onionmx.cli.explain",
    "lookup": "onionmx.cli.lookup",
    "map": "onionmx.cli.map",
    "onion": "onionmx.cli.onion",
    "probe": "onionmx.cli.probe",
    "publish": "onionmx.cli.publish",
    "relay": "onionmx.cli.relay",
    "serve": "onionmx.cli.serve",
    "sync": "onionmx.cli.sync",
}
"""Modules of the subcommands; each has a click command called `command`."""

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


class LazyGroup(click.Group):
    """Loads a subcommand only when it is called or described."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Names of all subcommands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The subcommand of this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onionmx", message="%(prog)s %(version)s")
def command() -> None:
    """Mail between servers over Tor onion services.

    Exit codes: 0 done or found; 1 no route, or a difference or mistake found; 64 usage; 75 could not tell, try
    again later; 78 configuration.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Args:
        arguments: words after the name of the program; those of the process by default.
    """
    try:
        result = command.main(args=arguments, prog_name="onionmx", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return EXIT_USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
    except OnionmxError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"onionmx: {line}\n")
        return error.exit_code
    return result if isinstance(result, int) else 0
