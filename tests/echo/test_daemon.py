"""The echo as a daemon: LMTP by a client of the standard library."""

import asyncio
import smtplib
import socket
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import msgspec
import pytest

from onionmx.config import Configuration
from onionmx.echo.agent import EchoOptions
from onionmx.echo.daemon import EchoService
from onionmx.echo.submit import SubmitError
from onionmx.net.listen import bind_tcp, bind_unix
from tests.echo.messages import ECHO, SENDER, request
from tests.mapfile.maps import A, make_map

TIMEOUT = 120.0


def configuration(map_path: Path) -> Configuration:
    pins = map_path.with_suffix(".pins")
    pins.touch()
    return msgspec.convert({"map": {"path": str(map_path)}, "sync": {"pins": str(pins)}}, Configuration)


class Daemon:
    """The service on a socket, and what it has handed to the MTA."""

    def __init__(self, folder: Path, bound: socket.socket) -> None:
        self.map = folder / "map.cdb"
        make_map(self.map, {"sender.example": ((A, 25),)})
        self.configuration = configuration(self.map)
        self.memory = folder / "echo.json"
        self.sent: list[tuple[str | None, str]] = []
        self.error: Exception | None = None
        self._bound = bound
        self.service = EchoService(self.configuration, EchoOptions(self.memory), self._submit, bound)

    def _submit(self, sender: str | None, recipient: str, message: EmailMessage) -> None:
        del message
        if self.error:
            raise self.error
        self.sent.append((sender, recipient))

    def use(self, client: Callable[[smtplib.LMTP], None]) -> None:
        """Run the service, and a client in a thread beside it."""
        host, port = (
            self._bound.getsockname() if self._bound.family == socket.AF_INET else (self._bound.getsockname(), 0)
        )

        def connect() -> None:
            with smtplib.LMTP(host, port) as session:
                client(session)

        async def run() -> None:
            await self.service.start()
            try:
                await asyncio.wait_for(asyncio.to_thread(connect), TIMEOUT)
            finally:
                await self.service.stop()

        asyncio.run(run())


@pytest.fixture(params=["unix", "tcp"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Daemon:
    bound = bind_unix(tmp_path / "lmtp", 0o600) if request.param == "unix" else bind_tcp("127.0.0.1", 0)
    return Daemon(tmp_path, bound)


def test_it_answers(daemon: Daemon) -> None:
    daemon.use(lambda session: daemon_takes(session, request()))
    assert daemon.sent == [("", SENDER)]


def daemon_takes(session: smtplib.LMTP, content: bytes) -> None:
    assert session.sendmail(SENDER, [ECHO], content) == {}


@pytest.mark.parametrize(
    "words",
    [
        "<a,b@third.example>",
        "<a@third.example.>",
        "<user[1]@third.example>",
        "<a\\@b@third.example>",
        "<jörg@third.example> SMTPUTF8",
        "<jörg@third.example>",
        "<a@third.example> AUTH=<> RET=HDRS",
        "a@third.example",
        "",
    ],
)
def test_no_sender_is_refused(daemon: Daemon, words: str) -> None:
    """The MTA would return the message to him."""

    def client(session: smtplib.LMTP) -> None:
        session.ehlo()
        session.send(f"MAIL FROM:{words}\r\n".encode())
        assert session.getreply()[0] == 250
        assert session.rcpt(ECHO)[0] == 250
        code, text = session.data(request())
        assert (code, text.startswith(b"2.0.0 no answer: ")) == (250, True)

    daemon.use(client)
    assert daemon.sent == []


def test_faults_of_the_library_are_temporary(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise ValueError

    monkeypatch.setattr("onionmx.echo.daemon.LMTP.smtp_MAIL", fail)

    def client(session: smtplib.LMTP) -> None:
        session.ehlo()
        assert session.mail(SENDER) == (451, b"4.3.0 internal error")

    daemon.use(client)


def test_what_is_not_answered_is_taken_too(daemon: Daemon) -> None:
    """Refused, it would go back to somebody who may not have written it."""

    def client(session: smtplib.LMTP) -> None:
        daemon_takes(session, request("List-Id: x"))
        daemon_takes(session, request() + b"x" * 1_000_000)
        assert session.sendmail("", [ECHO], request()) == {}
        assert session.docmd("NOOP")[0] == 250

    daemon.use(client)
    assert daemon.sent == []


def test_each_message_has_one_recipient(daemon: Daemon) -> None:
    """LMTP wants a reply for each, after the message (RFC 2033 section 4.2)."""

    def client(session: smtplib.LMTP) -> None:
        refused = session.sendmail(SENDER, [ECHO, f"x{ECHO}"], request())
        assert list(refused) == [f"x{ECHO}"]
        assert refused[f"x{ECHO}"][0] == 452

    daemon.use(client)
    assert daemon.sent == [("", SENDER)]


def test_trouble_here_keeps_the_message_in_the_queue(daemon: Daemon) -> None:
    def refused(session: smtplib.LMTP) -> bytes:
        with pytest.raises(smtplib.SMTPDataError) as error:
            session.sendmail(SENDER, [ECHO], request())
        assert error.value.smtp_code == 451
        assert isinstance(error.value.smtp_error, bytes)
        return error.value.smtp_error

    def client(session: smtplib.LMTP) -> None:
        daemon.error = SubmitError("the MTA\nis full")
        assert b"the MTA\\nis full" in refused(session)
        daemon.error = RuntimeError("secret")
        assert b"secret" not in refused(session)
        daemon.error = None
        daemon.memory.write_bytes(b"damaged")
        assert b"damaged" in refused(session)
        daemon.memory.unlink()
        daemon.map.write_bytes(b"damaged")
        assert b"route" in refused(session)

    daemon.use(client)


def test_another_configuration(daemon: Daemon, tmp_path: Path) -> None:
    empty = tmp_path / "empty.cdb"
    make_map(empty, {})

    async def take() -> None:
        await daemon.service.start()
        daemon.service.take(configuration(empty))
        await daemon.service.stop()

    asyncio.run(take())
