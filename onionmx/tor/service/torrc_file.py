"""The torrc on disk: checked by tor, taken by the running tor, and only then replaced."""

import os
import pwd
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from errno import EACCES
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onionmx.config import UNIX, TorSection, parse_socket
from onionmx.errors import ConfigurationError, ControlError, OwnerError
from onionmx.files import alone, read_regular, replacing
from onionmx.net.owned_path import check_path
from onionmx.text import escaped
from onionmx.tor.service.folder import tor_user
from onionmx.tor.service.running import service_options
from onionmx.tor.service.torrc import ENCODING, Option, setconf, split_services

if TYPE_CHECKING:
    from stem.control import Controller

BACKUP_SUFFIX = ".before-onionmx"
PROGRAM = "/usr/bin/tor"
"""Where Debian's package has it."""
VERIFY_TIMEOUT = 60.0
"""Seconds; tor checks a torrc in less than one."""
_PERMISSIONS = 0o7777


class TorrcFile:
    """The torrc of the tor behind a control port.

    Raises:
        ConfigurationError: it is not the file of this tor, or tor takes no changes while it runs.
    """

    def __init__(self, settings: TorSection, controller: "Controller") -> None:
        self.path = Path(settings.torrc).resolve()  # the file, not a link to it, is replaced
        self._controller = controller
        self._user = settings.user
        if not _is_this_machine(settings.control):
            raise ConfigurationError(
                f"tor.control {settings.control} is on another machine, its torrc is not here: use --over-control, or "
                "run this there"
            )
        used = controller.get_info("config-file")
        if Path(used).resolve() != self.path:
            raise ConfigurationError(f"tor.torrc is {settings.torrc}, but the running tor uses {used}: set tor.torrc")
        if controller.get_conf("Sandbox", "0") == "1":
            raise ConfigurationError("tor runs with Sandbox 1 and takes no new service: set it to 0 and restart tor")

    def read(self) -> str:
        """Its text.

        Raises:
            ConfigurationError: it cannot be read.
        """
        try:
            return read_regular(self.path).decode(ENCODING)
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be read: {error.strerror}") from error

    def user(self) -> pwd.struct_passwd | None:
        """The user of tor; see `tor_user`.

        Raises:
            ConfigurationError: it is not the configured one.
        """
        return tor_user(self._controller, self._user)

    def verify(self, text: str) -> None:
        """Have tor check another text, without changing anything.

        Raises:
            ConfigurationError: tor would not accept it or cannot be asked, or torrc cannot be replaced.
        """
        with self._writing():
            if not os.access(self.path.parent, os.W_OK | os.X_OK, effective_ids=True):
                raise PermissionError(EACCES, os.strerror(EACCES), str(self.path.parent))
        command = [
            *(_program(), "--verify-config", "--hush", "-f", "-"),
            *("--defaults-torrc", self._controller.get_info("config-defaults-file")),
            "/User",  # without the option: only root can change users
        ]
        try:
            done = subprocess.run(  # noqa: S603 -- no shell; the program is root's
                command,
                input=text.encode(ENCODING),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=VERIFY_TIMEOUT,
                **_rights(self.user()),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigurationError(f"{command[0]} --verify-config did not run: {error}") from error
        if done.returncode:
            why = _why_refused(done.stdout.decode("utf-8", "replace"))
            raise ConfigurationError(f"tor would not accept {self.path} with the new lines: {why}; nothing was changed")

    @contextmanager
    def replaced(self, old: str, new: str, more: Sequence[Option]) -> Iterator[None]:
        """Have the running tor take more options, and put the text with them in place of torrc when the body is done.

        Where tor does not take them, the file cannot be written or the body raises, tor gets back what it had and the
        file stays as it was. The old text is kept beside it. All other options of tor stay as they are: what
        distributions give it besides torrc (`--defaults-torrc`), too.

        Args:
            old: what `read` gave.
            new: what `verify` accepted.
            more: what the new text has more: the lines of a service, and options of one line.

        Raises:
            ConfigurationError: the file cannot be written.
            ControlError: tor did not take it.
        """
        changed, added = split_services(more)
        had = service_options(self._controller, ENCODING)
        before = [Option(option.keyword, self._controller.get_conf(option.keyword, "")) for option in changed]
        with self._writing():
            try:
                with self._replacing(self.path, new):
                    self._set([*changed, *had, *added])
                    yield
                    with self._replacing(Path(f"{self.path}{BACKUP_SUFFIX}"), old):
                        pass
            except BaseException:
                # A connection that broke off leaves only the file to go by, and that is the old one.
                if self._controller.is_alive():
                    self._set([*before, *had])
                raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who changes it; the kernel gives the lock back when the process ends.

        Raises:
            LockedError: another process is at work.
            ConfigurationError: its folder cannot be opened.
        """
        with self._writing():
            descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with alone(descriptor, f"another process is changing {self.path}; nothing was changed"):
            yield

    @contextmanager
    def _replacing(self, path: Path, text: str) -> Iterator[None]:
        """Replace a file, with owner and mode of the torrc, if the body raises nothing."""
        status = self.path.stat()
        with replacing(path, status.st_mode & _PERMISSIONS) as file:
            os.fchown(file.fileno(), status.st_uid, status.st_gid)
            file.write(text.encode(ENCODING))
            yield

    def _set(self, options: Iterable[Option]) -> None:
        # Not SIGNAL RELOAD: of a torrc that it cannot take tor dies. Not LOADCONF: it drops the options of Debian's
        # --defaults-torrc, DataDirectory among them, which a running tor refuses.
        answer = self._controller.msg(setconf(options))
        if not answer.is_ok():
            raise ControlError(f"tor does not take the new lines: {answer}; {self.path} stays as it was")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = error.filename or self.path.parent
            raise ConfigurationError(
                f"{self.path} cannot be changed: {what}: {error.strerror}; run as root or as its owner"
            ) from error


def _program() -> str:
    """The tor that root has installed, if nobody else can change it; none of PATH, and none that tor itself names."""
    try:
        check_path(Path(PROGRAM), ())
    except OwnerError as error:
        raise ConfigurationError(f"the program tor cannot check the new torrc: {error}") from error
    return PROGRAM


def _rights(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """Have the check run as tor runs: it refuses folders of others, and reads what a torrc includes."""
    if os.geteuid() != 0 or user is None:
        return {}
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}


def _is_this_machine(control: str) -> bool:
    return control.startswith(UNIX) or parse_socket(control)[0].startswith("127.") or parse_socket(control)[0] == "::1"


def _why_refused(output: str) -> str:
    """The last warnings of tor, the first of which names the option."""
    warnings = [line.partition("[warn] ")[2] for line in output.splitlines() if "[warn] " in line]
    why = warnings[-2:] if warnings and "See logs" in warnings[-1] else warnings[-1:]
    return escaped("; ".join(reason.strip().rstrip(".") for reason in why)) or "no reason given"
