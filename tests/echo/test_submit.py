"""Messages to the local MTA; real ones take them in tests/e2e/test_selftest.py."""

import socket
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP, Envelope, Session

from onionmx.echo.submit import SubmitError, by_sendmail, by_smtp


def message() -> EmailMessage:
    made = EmailMessage()
    made["Subject"] = "x"
    made.set_content("Hello\n")
    return made


def program(folder: Path, lines: str) -> str:
    path = folder / "sendmail"
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("sender", "words"), [("", "-oi -f  -- b@c.example"), (None, "-oi -- b@c.example")])
def test_a_program_gets_the_envelope_as_words(tmp_path: Path, sender: str | None, words: str) -> None:
    submit = by_sendmail(program(tmp_path, f'echo "$@" >{tmp_path}/words; cat >{tmp_path}/message'))
    submit(sender, "b@c.example", message())
    assert (tmp_path / "words").read_text() == f"{words}\n"
    assert (tmp_path / "message").read_bytes().endswith(b"\n\nHello\n")


def test_a_program_that_fails(tmp_path: Path) -> None:
    with pytest.raises(SubmitError, match=r"ended with 75: no\\x1b\[31m queue"):
        by_sendmail(program(tmp_path, r"printf 'no\033[31m queue\n' >&2; exit 75"))("", "b@c.example", message())
    with pytest.raises(SubmitError, match="ended with 1: it did not say why"):
        by_sendmail(program(tmp_path, "exit 1"))("", "b@c.example", message())
    with pytest.raises(SubmitError, match="cannot be run: No such file"):
        by_sendmail(str(tmp_path / "none"))("", "b@c.example", message())


class Refusing(Sink):
    async def handle_RCPT(  # noqa: N802 -- the name and arguments are aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, session, options
        envelope.rcpt_tos.append(address)
        return "250 OK" if address.startswith("b@") else "550 5.1.1 unknown"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        del server, session
        return "250 OK" if envelope.mail_from == "<>" else "451 4.3.0 later"


def test_a_server() -> None:
    controller = Controller(Refusing(), "127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        controller.port = free.getsockname()[1]
    controller.start()
    try:
        submit = by_smtp("127.0.0.1", controller.port)
        submit("", "b@c.example", message())
        with pytest.raises(SubmitError, match=r"451 4\.3\.0 later"):
            submit("a@b.example", "b@c.example", message())
        with pytest.raises(SubmitError, match=r"550 5\.1\.1 unknown"):
            submit("", "a@c.example", message())
    finally:
        controller.stop()
    with pytest.raises(SubmitError, match="did not take the message"):
        submit("", "b@c.example", message())
