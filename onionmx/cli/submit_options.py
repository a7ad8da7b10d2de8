"""How echo and self-test hand messages to the local MTA: options of both."""

from ipaddress import ip_address

import click

from onionmx.config import parse_socket
from onionmx.echo.submit import SENDMAIL, Submit, by_sendmail, by_smtp
from onionmx.errors import UsageError

sendmail_option = click.option(
    "--sendmail", metavar="PROGRAM", help=f"Program that hands mail to the MTA (default: {SENDMAIL})."
)
smtp_option = click.option("--smtp", metavar="IP:PORT", help="Hand mail to the MTA by SMTP, on this host.")


def submit_of(sendmail: str | None, smtp: str | None) -> Submit:
    """What the two options say.

    Raises:
        UsageError: both are given, or the second is not an address of this host.
    """
    if sendmail and smtp:
        raise UsageError("--sendmail and --smtp: give one of them")
    return by_smtp(*loopback(smtp, "--smtp")) if smtp else by_sendmail(sendmail or SENDMAIL)


def loopback(address: str, option: str) -> tuple[str, int]:
    """An IP address of this host alone, and a port.

    Args:
        option: that names it.

    Raises:
        UsageError: it is another host, or no address.
    """
    try:
        host, port = parse_socket(address)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
    if not ip_address(host).is_loopback:
        raise UsageError(f"{option}: {address} is not an address of this host alone: expected 127.0.0.1 or [::1]")
    return host, port
