"""What a real Postfix gives the echo, by the lines of docs/selftest.md, and how its sendmail takes an answer.

The user of pipe(8) has no right to run a Python below root's home, where tests may have theirs: what Postfix would run
keeps what it is given, and the test runs the echo with that.
"""

import os
import shlex
import smtplib
import subprocess
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from onionmx.echo.message import new_token
from onionmx.echo.submit import by_sendmail
from onionmx.selftest.message import compose
from onionmx.selftest.reply import Answered, classify

from .conftest import skip_without
from .echo_site import DOCUMENT
from .postfix import MAILBOX_USER, Postfix, documented, section
from .programs import find_program
from .site import PROGRAMS

pytestmark = pytest.mark.skipif(bool(os.geteuid()), reason="Postfix's master runs as root only")

DOMAIN = "echo.example"
ALICE, ECHO = f"alice@{DOMAIN}", f"echo@{DOMAIN}"


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder in which what Postfix runs keeps what it is given."""
    folder = tmp_path / "given"
    folder.mkdir()
    folder.chmod(0o777)
    program = tmp_path / "keep"
    program.write_text(f'#!/bin/sh\necho "$@" >{folder}/words\ncat >{folder}/message\necho kept\n')
    program.chmod(0o755)
    return folder


@pytest.fixture
def postfix(given: Path, tmp_path: Path) -> Iterator[Postfix]:
    skip_without("postqueue", "setpriv")
    values = {
        "user=onionmx-echo": f"user={MAILBOX_USER}",
        "/usr/bin/onionmx echo": str(given.with_name("keep")),
        "echo@example.org": ECHO,
    }
    blocks = documented(section(DOCUMENT.read_text(), "Run an echo"), values)
    address, transport = blocks["/etc/postfix/transport"].split()
    main = f"transport_maps = inline:{{ {{ {address} = {transport} }} }}\n"
    main += f"virtual_alias_maps = inline:{{ {{ {ECHO} = {ECHO} }} }}\n"
    # For postdrop, whose libraries are where the set-up has unpacked them.
    main += "export_environment = TZ MAIL_CONFIG LANG LD_LIBRARY_PATH\n"
    with Postfix(tmp_path / "mta", DOMAIN, main, blocks["/etc/postfix/master.cf"]) as running:
        yield running


def submit(postfix: Postfix, message: EmailMessage, sender: str) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.port, local_hostname="localhost") as session:
        session.sendmail(sender, [ECHO], message.as_bytes())
    postfix.wait_for_log(r"relay=onionmx-echo, .* status=sent \(delivered via onionmx-echo service \(kept\)\)")


def echo(given: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the echo as Postfix would have; the answer goes to a file."""
    sendmail = given / "sendmail"
    sendmail.write_text(f"#!/bin/sh\ncat >{given}/answer\n")
    sendmail.chmod(0o755)
    options: list[str | Path] = ["--memory", given / "echo.json", "--sendmail", sendmail, "--allow-clearnet"]
    command: list[str | Path] = [PROGRAMS / "onionmx", "echo", *options, *shlex.split((given / "words").read_text())]
    return subprocess.run(command, input=(given / "message").read_bytes(), capture_output=True, env={}, check=False)


def test_what_postfix_gives_is_answered(postfix: Postfix, given: Path) -> None:
    token = new_token()
    submit(postfix, compose(token, ECHO, ALICE, 1764399600.0), ALICE)
    done = echo(given)
    assert (done.returncode, done.stderr) == (0, b"answered: unknown\n")
    answer = classify((given / "answer").read_bytes(), token)
    assert isinstance(answer, Answered)
    assert [hop.by for hop in answer.report.hops] == [DOMAIN]


def test_a_bounce_is_not_answered(postfix: Postfix, given: Path) -> None:
    """Postfix gives MAILER-DAEMON for the null sender."""
    submit(postfix, compose(new_token(), ECHO, ALICE, 1764399600.0), "")
    done = echo(given)
    assert done.returncode == 0
    assert done.stderr.startswith(b"no answer: ")
    assert not (given / "answer").exists()


def test_the_null_sender(postfix: Postfix, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in postfix.environment.items():
        monkeypatch.setenv(name, value)
    by_sendmail(str(find_program("sendmail")))("", ALICE, compose(new_token(), ALICE, ECHO, 1764399600.0))
    postfix.wait_for_log(r"qmgr\[\d+\]: \w+: from=<>, ")
