"""`onionmx relay`."""

from pathlib import Path

import click

from onionmx.cli.log import log_to_stderr
from onionmx.cli.options import file_option, verbose_option
from onionmx.config import Configuration
from onionmx.log.handlers import use_log
from onionmx.relay.run import run_relay


@click.command()
@file_option
@verbose_option
def command(file: Path | None, *, verbose: bool) -> int:
    """Take mail from the local MTA by SMTP or LMTP, and hand it to onion MXes over Tor.

    It says 250 only after the onion MX has said 250. It keeps no queue: mail that cannot be delivered now waits in that
    of the MTA. SIGTERM finishes what is in flight, SIGHUP reads the configuration again. The log goes where [log] says,
    by default to standard error.

    Exit codes: 0 ended by SIGTERM or SIGINT; 64 usage; 78 configuration.
    """
    log_to_stderr(verbose=verbose)
    configuration = Configuration.load(file)
    use_log(configuration)
    return run_relay(configuration, lambda: Configuration.load(file))
