"""The `onionmx` command: one thin module for each subcommand, loaded when it is called."""

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from onionmx import __version__
from onionmx.cli.crash import drop_output, flush_output, report_crash, report_error
from onionmx.cli.log import log_problems
from onionmx.errors import EXIT_TEMPORARY, EXIT_USAGE, OnionmxError

COMMANDS = {
    "cache": "Look into the cache of the running daemon, and make it forget domains.",
    "config": "Print the configuration in effect, every field with its meaning.",
    "doctor": "Look at this machine: is it a sound onion MX, and not an open relay?",
    "domains": (
        "Print the domains that this host writes to, those with the most mail first, as a list for `onionmx sync`."
    ),
    "echo": "Answer messages of onionmx selftest: a delivery agent for an onion MX.",
    "explain": "Tell why the map has what it has for DOMAIN, and what would change that.",
    "files": "List the files that come with onionmx: fragments for Exim, systemd units, examples, documents.",
    "guard": "Limit what comes in over each circuit of the onion service.",
    "lookup": "Show where mail for DOMAIN goes over Tor.",
    "machine": "Run tor in a machine of its own (systemd-nspawn): build its root, update it, roll it back.",
    "map": "Look into the map from domains to onions, check it, convert it.",
    "onion": "Make the onion service for mail, look at it, make it private, keep its key safe.",
    "probe": "Connect to the onion MXes of DOMAIN, or to ONION, and show each step with its time.",
    "publish": "Publish the onion-MX record of DOMAIN, by default of all local domains of the configuration.",
    "relay": "Take mail from the local MTA by SMTP or LMTP, and hand it to onion MXes over Tor.",
    "selftest": "Send a message to the echo of an onion MX, and show which way it went.",
    "serve": "Tell MTAs where the mail of a domain goes.",
    "setup": "From installed to working: set up tor, an MTA and onionmx, and prove that it works.",
    "status": (
        "Show how this host is doing: tor, its onion, the map, destinations that fail, mail that waits, deliveries."
    ),
    "sync": "Find out which domains have an onion MX, and write the map.",
    "watch": "Probe the onion service of this host again and again, and renew it when nobody can reach it.",
}
"""The subcommands and their short helps. Each is a click command called `command` in the module of its name; that is
loaded when it is called, and not to list them."""

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


class LazyGroup(click.Group):
    """Loads a subcommand only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Names of all subcommands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The subcommand of this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the subcommands as click does, without loading them."""
        limit = formatter.width - 6 - max(len(name) for name in COMMANDS)
        commands = [click.Command(name, help=text) for name, text in sorted(COMMANDS.items())]
        with formatter.section("Commands"):
            formatter.write_dl([(command.name or "", command.get_short_help_str(limit)) for command in commands])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onionmx", message="%(prog)s %(version)s")
@click.option(
    "--debug", is_flag=True, expose_value=False, help="Show where an internal error came up; ONIONMX_DEBUG=1 too."
)
def command() -> None:
    """Mail between servers over Tor onion services.

    Exit codes: 0 done or found; 1 no route, or a difference or mistake found; 3 the message of the self-test did not
    go over an onion; 64 usage; 75 could not tell, try again later; 78 configuration.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Args:
        arguments: words after the name of the program; those of the process by default.
    """
    try:
        return _run(arguments)
    except OSError:  # of the standard error: nobody can be told why
        return EXIT_TEMPORARY
    finally:
        drop_output()


def _run(arguments: Sequence[str] | None) -> int:
    log_problems()
    try:
        result = command.main(args=arguments, prog_name="onionmx", standalone_mode=False)
        flush_output()
    except click.UsageError as error:
        error.show()
        return EXIT_USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except OnionmxError as error:
        report_error(error)
        return error.exit_code
    except BaseException as error:  # noqa: BLE001 -- whatever it is, it is no answer
        words = sys.argv[1:] if arguments is None else arguments
        return report_crash(error, with_traceback="--debug" in words)
    return result if isinstance(result, int) else 0
