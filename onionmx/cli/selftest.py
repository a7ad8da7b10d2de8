"""`onionmx selftest`."""

import pwd
from contextlib import AbstractContextManager, nullcontext
from os import geteuid
from pathlib import Path

import click
from rich.console import Console

from onionmx.cli.options import Seconds, json_option, write_json
from onionmx.cli.selftest_report import as_json as report_for_programs
from onionmx.cli.selftest_report import print_result
from onionmx.cli.submit_options import sendmail_option, smtp_option, submit_of
from onionmx.errors import UsageError
from onionmx.selftest.mailbox import Maildir, open_mailbox, usual_mailboxes
from onionmx.selftest.message import check_address
from onionmx.selftest.run import selftest

_PATIENCE = 300.0  # seconds


@click.command()
@click.argument("address")
@click.option(
    "--from", "sender", metavar="ADDRESS", help="Where the answer goes (default: the address of the user who runs it)."
)
@click.option(
    "--mailbox",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Maildir or mbox file in which the answer comes (default: /var/mail/USER and ~/Maildir).",
)
@click.option(
    "--timeout",
    type=Seconds(1, 86400),
    default=_PATIENCE,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the answer.",
)
@sendmail_option
@smtp_option
@click.option("--remove", is_flag=True, help="Delete the answer when it has been read; in a Maildir only.")
@json_option
def command(
    address: str,
    *,
    sender: str | None,
    mailbox: Path | None,
    timeout: float,
    sendmail: str | None,
    smtp: str | None,
    remove: bool,
    as_json: bool,
) -> int:
    """Send a message to the echo of an onion MX, and show which way it went.

    ADDRESS is that of an onionmx echo. The message goes through the local MTA as any user's does, and the answer comes
    back to a mailbox of this host. Shown are the hosts that had the message and the answer, with the times between
    them, TLS, and what the other host says of its DKIM signature. --smtp needs --from.

    Exit codes: 0 the message went over an onion; 3 it went over the clearnet; 75 no answer in time, the message came
    back, the answer does not show the way, the MTA did not take the message, or a mailbox cannot be read; 64
    usage.
    """
    submit = submit_of(sendmail, smtp)
    if smtp and sender is None:
        raise UsageError("--smtp: give --from too, as the MTA does not know by SMTP who you are")
    check_address(address)
    if sender is not None:
        check_address(sender)
    boxes = [open_mailbox(path) for path in ([mailbox] if mailbox else _own_mailboxes())]
    if remove and not all(isinstance(box, Maildir) for box in boxes):
        raise UsageError("--remove: give the path of a Maildir with --mailbox; from an mbox nothing is deleted")
    with _progress(f"waiting for the answer of {address}"):
        result = selftest(address, sender, submit, boxes, timeout)
    if as_json:
        write_json(report_for_programs(address, result))
    else:
        print_result(address, result)
    if remove and result.file is not None:
        for box in boxes:
            if isinstance(box, Maildir):
                box.remove(result.file)
    return result.exit_code


def _own_mailboxes() -> list[Path]:
    try:
        user = pwd.getpwuid(geteuid())
    except KeyError as error:
        raise UsageError(f"user {geteuid()} has no name here, and so no mailbox: give --from and --mailbox") from error
    return usual_mailboxes(user.pw_name, Path(user.pw_dir))


def _progress(words: str) -> AbstractContextManager[object]:
    console = Console(stderr=True, markup=False)
    return console.status(words) if console.is_terminal else nullcontext()
