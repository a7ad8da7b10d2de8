"""`onionmx echo`."""

import asyncio
import os
import sys
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import click

from onionmx.cli.log import log_to_stderr
from onionmx.cli.options import file_option, verbose_option
from onionmx.cli.submit_options import loopback, sendmail_option, smtp_option, submit_of
from onionmx.config import Configuration
from onionmx.config.address import parse_address
from onionmx.daemon import run
from onionmx.defaults import ECHO_STATE_DIRECTORY
from onionmx.echo.agent import Echo, EchoOptions
from onionmx.echo.daemon import EchoService
from onionmx.echo.message import MAX_MESSAGE
from onionmx.echo.submit import Submit
from onionmx.errors import EXIT_FOUND, UsageError
from onionmx.log.handlers import use_log
from onionmx.net.listen import bind_tcp, bind_unix
from onionmx.parts import Parts
from onionmx.systemd import watchdog_seconds

_UNIX_MODE = 0o666
"""Any local user may deliver, as to any address of the MTA; who may search the folder of the socket, that is."""
_PORTION = 65536  # bytes


def _ip_addresses(addresses: tuple[str, ...]) -> tuple[str, ...] | None:
    try:
        return tuple(str(ip_address(address)) for address in addresses) or None
    except ValueError as error:
        raise UsageError(f"--tor-address: {error}") from error


@click.command()
@file_option
@click.option("--sender", metavar="ADDRESS", help="Envelope sender (default: $SENDER, else Return-Path).")
@click.option("--recipient", metavar="ADDRESS", help="Address of the echo (default: $RECIPIENT).")
@click.option("--lmtp", metavar="ADDRESS", help="Run as a daemon: 127.0.0.1:PORT, [::1]:PORT or unix:/path.")
@click.option(
    "--memory",
    metavar="FILE",
    type=click.Path(readable=False, path_type=Path),
    help=f"Where it keeps how often it has answered (default: {ECHO_STATE_DIRECTORY}/echo.json).",
)
@click.option("--allow-clearnet", is_flag=True, help="Also answer domains whose mail does not go over Tor.")
@click.option(
    "--authserv-id",
    default="",
    metavar="NAME",
    help="Whose Authentication-Results are believed (default: the host of the newest Received field).",
)
@click.option(
    "--tor-address",
    "tor_addresses",
    multiple=True,
    metavar="IP",
    help="IP address from which tor hands connections to this host; any other address counts as clearnet then.",
)
@sendmail_option
@smtp_option
@verbose_option
def command(
    file: Path | None,
    *,
    sender: str | None,
    recipient: str | None,
    lmtp: str | None,
    memory: Path | None,
    allow_clearnet: bool,
    authserv_id: str,
    tor_addresses: tuple[str, ...],
    sendmail: str | None,
    smtp: str | None,
    verbose: bool,
) -> int:
    """Answer messages of onionmx selftest: a delivery agent for an onion MX.

    The MTA runs it for one address. The message comes on standard input, from a pipe transport of Exim, pipe(8) of
    Postfix, or an alias; with --lmtp it is a daemon. The answer says which hosts had the message, when, by which way,
    and what they said of its signatures. It goes to the envelope sender alone, with the null sender, and only if From
    is the same address, the message is one of onionmx selftest, and the mail of its domain goes over Tor. All other
    messages are thrown away. It gives at most 12 answers an hour to one address and to one circuit, 60 to one domain,
    240 at all.

    Exit codes: 0 answered, or thrown away, which a line on standard error says; 64 usage; 75 it could not be told
    whether to answer, or the MTA did not take the answer: the MTA has to keep the message and try again; 78
    configuration.
    """
    submit = submit_of(sendmail, smtp)
    place = memory or Path(os.environ.get("STATE_DIRECTORY") or ECHO_STATE_DIRECTORY) / "echo.json"
    options = EchoOptions(place, allow_clearnet, authserv_id, _ip_addresses(tor_addresses))
    load = partial(Configuration.load, file)
    if lmtp is not None:
        if sender is not None or recipient is not None:
            raise UsageError("--lmtp: the MTA gives sender and recipient of each message")
        log_to_stderr(verbose=verbose)
        return _run_daemon(load, options, submit, lmtp)
    sender = os.environ.get("SENDER") if sender is None else sender
    recipient = recipient or os.environ.get("RECIPIENT")
    if not recipient:
        raise UsageError("the address of the echo is not known: give --recipient, or set $RECIPIENT as Exim does")
    click.echo(asyncio.run(_take(load(), options, submit, sender, recipient)), err=True)
    return EXIT_FOUND


async def _take(
    configuration: Configuration, options: EchoOptions, submit: Submit, sender: str | None, recipient: str
) -> str:
    content = sys.stdin.buffer.read(MAX_MESSAGE + 1)
    while sys.stdin.buffer.read(_PORTION):  # An MTA that cannot write all of it takes that for a failure.
        pass
    async with Parts(configuration, to_write=False) as parts:
        return await Echo(options, parts.router.route, submit).take(content, sender, recipient)


def _run_daemon(load: Callable[[], Configuration], options: EchoOptions, submit: Submit, lmtp: str) -> int:
    try:
        address = parse_address(lmtp)
    except ValueError as error:
        raise UsageError(f"--lmtp: {error}") from error
    bound = bind_unix(address, _UNIX_MODE) if isinstance(address, Path) else bind_tcp(*loopback(lmtp, "--lmtp"))
    try:
        configuration = load()
        use_log(configuration)
        asyncio.run(run(EchoService(configuration, options, submit, bound), load, watchdog_seconds()))
    finally:
        bound.close()
        if isinstance(address, Path):
            address.unlink(missing_ok=True)
    return EXIT_FOUND
