"""`onionmx serve`."""

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
    """Tell MTAs where the mail of a domain goes.

    Postfix asks by socketmap or tcp_table, Exim by readsocket, programs and people by HTTP; see the addresses under
    [serve] of the configuration. SIGTERM finishes what is in flight, SIGHUP reads the configuration again and keeps the
    old one when the new is wrong. The log goes where [log] says, by default to standard error.

    Exit codes: 0 ended by SIGTERM or SIGINT; 64 usage; 78 configuration.
    """
    # Loaded here: `onionmx --help` describes every command, and need not load a server for that.
    from onionmx.serve.run import run_serve  # noqa: PLC0415

    log_to_stderr(verbose=verbose)
    configuration = Configuration.load(file)
    use_log(configuration)
    return run_serve(configuration, lambda: Configuration.load(file))
