"""`onionmx watch`."""

import asyncio
import logging
from pathlib import Path

import click

from onionmx.cli.log import log_to_stderr
from onionmx.cli.options import file_option, verbose_option, write_json
from onionmx.config import Configuration
from onionmx.errors import UsageError
from onionmx.log.handlers import use_log
from onionmx.watch.judge import Watched
from onionmx.watch.run import exit_code, probe_once, run_watch


@click.command()
@file_option
@click.option("--once", is_flag=True, help="Probe once, say what was found, and renew nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print JSON for programs.")
@verbose_option
def command(file: Path | None, *, once: bool, as_json: bool, verbose: bool) -> int:
    """Probe the onion service of this host again and again, and renew it when nobody can reach it.

    Every watch.interval it asks the directories for the descriptor, and connects over a new circuit, as a stranger
    would. When all probes of watch.failing_for have failed, tor gives the service up and takes it back, so that it
    makes new introduction points and publishes them; at most once in watch.renewal_pause, and not right after it was
    published. Where tor is away, builds no circuits or cannot be asked, nothing is renewed. Connected clients put a
    renewal off, for watch.circuits_delay at most.

    It needs tor's control port; the unit onionmx-watch.service runs as tor's user. SIGTERM ends it, SIGHUP reads the
    configuration again. The log goes where [log] says, by default to standard error.

    Exit codes of --once: 0 it is reachable; 1 tor works, and nobody can reach it; 75 could not tell, or there is no
    onion service for mail. Without it 0, ended by SIGTERM or SIGINT. 64 usage; 78 configuration.
    """
    if as_json and not once:
        raise UsageError("--json goes with --once")
    if not once:
        log_to_stderr(verbose=verbose)
    configuration = Configuration.load(file)
    if not once:
        use_log(configuration)
        return run_watch(configuration, lambda: Configuration.load(file))
    logging.getLogger("stem").setLevel(logging.CRITICAL)
    services = asyncio.run(probe_once(configuration))
    if as_json:
        write_json([_as_json(service) for service in services])
    else:
        for service in services:
            click.echo(f"{service.onion} {service.reach} {service.told - service.since:.1f} s: {service.words}")
    return exit_code(services)


def _as_json(service: Watched) -> dict[str, str | float]:
    seconds = round(service.told - service.since, 3)
    return {"onion": service.onion, "state": service.reach.value, "seconds": seconds, "words": service.words}
