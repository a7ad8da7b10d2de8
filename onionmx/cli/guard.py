"""`onionmx guard`."""

from pathlib import Path

import click

from onionmx.cli.log import log_to_stderr
from onionmx.cli.options import file_option, verbose_option
from onionmx.config import Configuration
from onionmx.log.handlers import use_log


@click.command()
@file_option
@verbose_option
def command(file: Path | None, *, verbose: bool) -> int:
    """Limit what comes in over each circuit of the onion service.

    Postfix asks by check_policy_service, Exim by readsocket, with circuits as addresses of clients. A circuit above the
    limits under [guard] of the configuration is answered 421, and is closed through tor's control port if it goes on.
    All other clients pass, and no fault of the guard refuses mail. SIGHUP reads the configuration again. The log goes
    where [log] says, by default to standard error, without addresses.

    Exit codes: 0 ended by SIGTERM or SIGINT; 64 usage; 78 configuration.
    """
    # Loaded here: `onionmx --help` describes every command, and need not load a server for that.
    from onionmx.guard.run import run_guard  # noqa: PLC0415

    log_to_stderr(verbose=verbose)
    configuration = Configuration.load(file)
    use_log(configuration)
    return run_guard(configuration, lambda: Configuration.load(file))
