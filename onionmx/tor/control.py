"""Tor's control port, through stem (torspec control-spec)."""

import os
import re
import socket
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock, Timer
from typing import Any

import stem
import stem.connection
import stem.response
from stem.connection import AuthenticationFailure, AuthMethod
from stem.control import Controller
from stem.socket import ControlSocket

from onionmx.config import UNIX, TorSection, parse_socket
from onionmx.credential import read_named_secret
from onionmx.errors import ConfigurationError, ControlError, OwnerError
from onionmx.net.owned_path import check_path
from onionmx.net.owner import ListenerOwner
from onionmx.net.users import check_unix_peer
from onionmx.text import escaped

CONNECT_TIMEOUT = 10.0
"""Seconds; the port is on this machine or near."""
REPLY_TIMEOUT = 30.0
"""Seconds for one answer; tor gives most at once, and takes a new configuration in a few seconds."""

_ERRNO = re.compile(r"\[Errno \d+\] ")
_FILTERS = Lock()  # the filters for warnings belong to the process


class _Port(ControlSocket):  # type: ignore[misc] # stem has no types
    """Connects in bounded time, and closes what did not connect, which stem leaves to the garbage collector."""

    def __init__(self, address: str, user: str) -> None:
        super().__init__()
        self._address = address
        self._user = user

    def _make_socket(self) -> socket.socket:
        try:
            if not self._address.startswith(UNIX):
                address = parse_socket(self._address)
                listener = ListenerOwner(*address, (self._user,))
                with ExitStack() as on_error:
                    connection = on_error.enter_context(socket.create_connection(address, CONNECT_TIMEOUT))
                    listener.confirm(connection)
                    connection.settimeout(None)
                    on_error.pop_all()
                    return connection
            with ExitStack() as on_error:
                connection = on_error.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                path = self._address.removeprefix(UNIX)
                connection.connect(path)
                check_unix_peer(connection, path, (self._user,))
                on_error.pop_all()
                return connection
        except OSError as error:
            raise stem.SocketError(error.strerror or str(error)) from error


class _PatientController(Controller):  # type: ignore[misc] # stem has no types
    """Gives up on a control port that says nothing, which stem would wait for without end."""

    silent = False

    def msg(self, message: str) -> object:
        """Ask, and hang up when no answer comes."""
        timer = Timer(REPLY_TIMEOUT, self._hang_up)
        timer.daemon = True
        timer.start()
        try:
            return super().msg(message)
        finally:
            timer.cancel()

    def _hang_up(self) -> None:
        self.silent = True
        self._socket.close()


@contextmanager
def open_control(settings: TorSection) -> Iterator[Controller]:
    """Open the control port and log in.

    Stem's own exceptions leave this context as `ControlError`, those of the body too.

    Args:
        settings: `control` is IP:PORT or unix:/path; without `control_password_file`, tor's cookie is used.

    Yields:
        A connection for questions; it is closed at the end.

    Raises:
        ControlError: no connection, no login, tor refused, or the connection broke off. One line.
        ConfigurationError: the password file cannot be used.
    """
    password = _read_password(settings)
    where = f"tor's control port at {settings.control}"
    try:
        controller = _connect(settings)
    except OwnerError as error:
        raise ControlError(
            f"{where} is not believed: {error}; nothing was said to it; if that is tor, set tor.user"
        ) from error
    except stem.SocketError as error:
        raise ControlError(
            f"{where} does not answer ({_one_line(error)}): is tor running, and is ControlPort or ControlSocket set "
            "in torrc as tor.control says?"
        ) from error
    try:
        _log_in(controller, password, where, settings.user)
        yield controller
    except stem.SocketClosed as error:
        if controller.silent:
            raise ControlError(f"{where} said nothing for {REPLY_TIMEOUT:g} s") from error
        raise ControlError(f"{where} closed the connection half-way") from error
    except stem.SocketError as error:
        raise ControlError(f"{where} failed: {_one_line(error)}") from error
    except stem.ProtocolError as error:
        words = f"gave an answer that is not tor's, or broke off in it: {_one_line(error)}"
        raise ControlError(f"{where} {words}") from error
    except stem.ControllerError as error:
        raise ControlError(f"tor refused: {_one_line(error)}") from error
    finally:
        controller.close()


def _connect(settings: TorSection) -> _PatientController:
    port = _Port(settings.control, settings.user)
    port.connect()
    with _FILTERS, warnings.catch_warnings():
        # stem still calls Thread.setDaemon(), which Python 3.10 deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _PatientController(port)


def _log_in(controller: _PatientController, password: str | None, where: str, user: str) -> None:
    # stem would connect anew by itself when this is cut off, and ask a second time.
    methods: Any = controller.msg("PROTOCOLINFO 1")
    stem.response.convert("PROTOCOLINFO", methods)
    # COOKIE would show the other side whatever file it names; SAFECOOKIE shows that both know it (control-spec 3.24).
    methods.auth_methods = tuple(method for method in methods.auth_methods if method != AuthMethod.COOKIE)
    if (
        methods.cookie_path
        and AuthMethod.SAFECOOKIE in methods.auth_methods
        and os.access(methods.cookie_path, os.F_OK)
    ):
        _check_cookie(Path(methods.cookie_path), where, user)
    try:
        controller.authenticate(password=password, protocolinfo_response=methods)
    except AuthenticationFailure as error:
        raise ControlError(f"{where}: {_why_no_login(error, controller)}") from error


def _check_cookie(path: Path, where: str, user: str) -> None:
    try:
        check_path(path, (user,))
    except OwnerError as error:
        raise ControlError(f"{where} names a cookie that is not believed: {error}") from error


def _why_no_login(error: AuthenticationFailure, controller: _PatientController) -> str:
    if controller.silent:
        return f"it said nothing for {REPLY_TIMEOUT:g} s"
    match error:
        case stem.connection.MissingPassword():
            why = "tor asks for a password: set tor.control_password_file, or CookieAuthentication 1 in torrc"
        case stem.connection.IncorrectPassword():
            why = "tor does not take the password in tor.control_password_file"
        case stem.connection.UnreadableCookieFile():
            why = (
                f"the cookie {error.cookie_path} cannot be read: run as root or as tor's user, or join tor's group "
                "(CookieAuthFileGroupReadable 1)"
            )
        case stem.connection.IncorrectCookieSize() | stem.connection.IncorrectCookieValue():
            why = f"{error.cookie_path} is not the cookie of this tor"
        case _ if not controller.is_alive() or not str(error) or "socket" in str(error).lower():
            why = "it closed the connection half-way"
        case _:
            why = f"no login: {_one_line(error)}"
    return why


def _read_password(settings: TorSection) -> str | None:
    if not settings.control_password_file:
        return None
    path = settings.control_password_file
    try:
        lines = read_named_secret(path, "tor.control_password_file").decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"tor.control_password_file {path} is not UTF-8 text") from error
    if len(lines) != 1 or not lines[0]:
        raise ConfigurationError(f"tor.control_password_file {path}: expected one line with the password")
    return lines[0]


def _one_line(error: Exception) -> str:
    """What another program said, without what would move the cursor of a terminal."""
    text = " ".join(_ERRNO.sub("", str(error)).split())
    return escaped(text)[:500] or type(error).__name__
