"""The control port when it does not do what it should; a script plays it."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from onionmx.config import TorSection
from onionmx.errors import ConfigurationError, ControlError
from onionmx.tor import control
from onionmx.tor.control import open_control

OK = "250 OK\r\n"
NO_AUTHENTICATION = f'250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250-VERSION Tor="0.4.9.11"\r\n{OK}'
# What stem sends: PROTOCOLINFO, AUTHENTICATE, SETEVENTS, GETCONF.
LOGGED_IN = [NO_AUTHENTICATION, OK, OK, "250 __OwningControllerProcess\r\n"]
PASSWORD = NO_AUTHENTICATION.replace("NULL", "HASHEDPASSWORD")


def cookie(path: Path, methods: str = "COOKIE,SAFECOOKIE") -> str:
    return NO_AUTHENTICATION.replace("NULL", f'{methods} COOKIEFILE="{path}"')


@contextmanager
def control_port(answers: Sequence[str], *, silent: bool = False) -> Iterator[TorSection]:
    """Answers the first lines that come, then hangs up, or says nothing until the peer hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as stream:
                for answer in answers:
                    if not stream.readline():
                        return
                    stream.write(answer.encode())
                    stream.flush()
                while (silent or not answers) and stream.readline():
                    if not silent:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield TorSection(control=f"127.0.0.1:{server.getsockname()[1]}")
        finally:
            thread.join()


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([], "closed the connection half-way"),
        (["250-PROTOCOLINFO 1\r\n"], "closed the connection half-way"),
        ([NO_AUTHENTICATION], "closed the connection half-way"),
        ([NO_AUTHENTICATION, OK], "closed the connection half-way"),
        (LOGGED_IN, "closed the connection half-way"),
        ([*LOGGED_IN, "250-version="], "broke off in it"),
        (["220 mx.example.org ESMTP\r\n"], "not tor's"),
        (["HTTP/1.1 400 Bad\x1b[2J Request\r\n"], "not tor's"),
    ],
)
def test_port_that_closes_half_way(answers: list[str], why: str) -> None:
    with control_port(answers) as settings, pytest.raises(ControlError) as caught, open_control(settings) as controller:
        controller.get_info("version")
    message = str(caught.value)
    assert any(word in message for word in why.split("|")), message
    assert settings.control in message
    assert "\n" not in message
    assert "\x1b" not in message


@pytest.mark.parametrize("answers", [[], LOGGED_IN])
def test_port_that_says_nothing(answers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REPLY_TIMEOUT", 0.3)
    with (
        control_port(answers, silent=True) as settings,
        pytest.raises(ControlError, match=r"said nothing for 0\.3 s"),
        open_control(settings) as controller,
    ):
        controller.get_info("version")


def test_refusal_is_named() -> None:
    answers = [*LOGGED_IN, '552 Unrecognized key "version"\r\n']
    with (
        control_port(answers, silent=True) as settings,
        pytest.raises(ControlError, match="tor refused"),
        open_control(settings) as controller,
    ):
        controller.get_info("version")


def test_errors_of_the_body_stay_what_they_are() -> None:
    with (
        control_port(LOGGED_IN) as settings,
        pytest.raises(ConfigurationError, match=r"^mine$"),
        open_control(settings),
    ):
        raise ConfigurationError("mine")


def test_nothing_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"unix:{tmp_path}/none"):
        with (
            pytest.raises(ControlError, match=r"does not answer.*is tor running"),
            open_control(TorSection(control=address)),
        ):
            pass


def test_password_is_asked_for() -> None:
    with (
        control_port([PASSWORD], silent=True) as settings,
        pytest.raises(ControlError, match=r"set tor\.control_password_file"),
        open_control(settings),
    ):
        pass


def test_cookie_that_is_not_there(tmp_path: Path) -> None:
    with (
        control_port([cookie(tmp_path / "none")], silent=True) as settings,
        pytest.raises(ControlError, match=r"none cannot be read: run as root"),
        open_control(settings),
    ):
        pass


def test_file_that_the_port_names_is_never_shown_to_it(tmp_path: Path) -> None:
    """Of COOKIE, any file of 32 bytes that root may read would be sent as it is."""
    (tmp_path / "secret").write_bytes(b"s" * 32)
    with (
        control_port([cookie(tmp_path / "secret", "COOKIE")], silent=True) as settings,
        pytest.raises(ControlError, match="did not have any methods"),
        open_control(settings),
    ):
        pass


def test_cookie_that_others_can_change(tmp_path: Path) -> None:
    (tmp_path / "cookie").write_bytes(b"s" * 32)
    (tmp_path / "cookie").chmod(0o666)
    with (
        control_port([cookie(tmp_path / "cookie")], silent=True) as settings,
        pytest.raises(ControlError, match=r"names a cookie that is not believed: .*cookie can be changed by others"),
        open_control(settings),
    ):
        pass


def test_cookie_of_another_size(tmp_path: Path) -> None:
    (tmp_path / "cookie").write_bytes(b"short")
    with (
        control_port([cookie(tmp_path / "cookie")], silent=True) as settings,
        pytest.raises(ControlError, match="is not the cookie of this tor"),
        open_control(settings),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (b"secret\n", 0o640, "mode 0640"),
        (b"", 0o600, "one line with the password"),
        (b"a\nb\n", 0o600, "one line with the password"),
        (b"\xff\n", 0o600, "not UTF-8"),
        (b"x" * 70_000, 0o600, "larger than"),
        (None, 0, "does not exist"),
    ],
)
def test_password_file_that_cannot_be_used(content: bytes | None, mode: int, why: str, tmp_path: Path) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    settings = TorSection(control="127.0.0.1:1", control_password_file=str(path))
    with pytest.raises(ConfigurationError, match=why), open_control(settings):
        pass
