"""The torrc on disk: checked by tor, taken by the running tor, and only then replaced."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any

from onionmx.config import UNIX, TorSection, parse_socket
from onionmx.errors import ConfigurationError, ControlError, LockedError
from onionmx.files import replacing
from onionmx.tor.folder import tor_user
from onionmx.tor.peer import believed_users, check_file
from onionmx.tor.services import service_options
from onionmx.tor.torrc import Option, setconf, split_services

if TYPE_CHECKING:
    from stem.control import Controller

BACKUP_SUFFIX = ".before-onionmx"
VERIFY_TIMEOUT = 60.0
"""Seconds; tor checks a torrc in less than one."""
# stem writes this encoding to the control port, so that the bytes of the file arrive as they are.
_ENCODING = "latin-1"
_PERMISSIONS = 0o7777


class TorrcFile:
    """The torrc of the tor behind a control port.

    Args:
        settings: where it is.
        controller: of `open_control`.

    Raises:
        ConfigurationError: it is not the file of this tor, or tor takes no changes while it runs.
    """

    def __init__(self, settings: TorSection, controller: "Controller") -> None:
        self.path = Path(settings.torrc).resolve()  # the file, not a link to it, is replaced
        self._controller = controller
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
            return self.path.read_bytes().decode(_ENCODING)
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be read: {error.strerror}") from error

    def verify(self, text: str) -> None:
        """Have tor check another text, without changing anything.

        Raises:
            ConfigurationError: tor would not accept it, or it cannot be written beside the torrc.
        """
        with self._writing(), self._draft(text) as draft:
            command = [
                *(self._program(), "--verify-config", "--hush", "-f", str(draft)),
                *("--defaults-torrc", self._controller.get_info("config-defaults-file")),
            ]
            try:
                done = subprocess.run(  # noqa: S603 -- no shell; the program is the one that runs
                    command,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    check=False,
                    timeout=VERIFY_TIMEOUT,
                    **self._as_tor_user(),
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise ConfigurationError(f"{command[0]} --verify-config did not run: {error}") from error
        if done.returncode:
            why = _why_refused(done.stdout + done.stderr)
            raise ConfigurationError(
                f"tor would not accept {self.path} with the new service: {why}; nothing was changed"
            )

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
        had = service_options(self._controller, _ENCODING)
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
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LockedError(f"another process is changing {self.path}; nothing was changed") from error
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _replacing(self, path: Path, text: str) -> Iterator[None]:
        """Replace a file, with owner and mode of the torrc, if the body raises nothing."""
        status = self.path.stat()
        with replacing(path, status.st_mode & _PERMISSIONS) as file:
            os.fchown(file.fileno(), status.st_uid, status.st_gid)
            file.write(text.encode(_ENCODING))
            yield

    def _set(self, options: Iterable[Option]) -> None:
        # Not SIGNAL RELOAD: of a torrc that it cannot take tor dies. Not LOADCONF: it drops the options of Debian's
        # --defaults-torrc, DataDirectory among them, which a running tor refuses.
        answer = self._controller.msg(setconf(options))
        if not answer.is_ok():
            raise ControlError(f"tor does not take the new service: {answer}; {self.path} stays as it was")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = error.filename or self.path.parent
            raise ConfigurationError(
                f"{self.path} cannot be changed: {what}: {error.strerror}; run as root or as its owner"
            ) from error

    @contextmanager
    def _draft(self, text: str) -> Iterator[Path]:
        """A copy that tor's user may read as it may read the torrc. %include passes over names with a dot in front."""
        status = self.path.stat()
        descriptor, name = mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, status.st_mode & _PERMISSIONS)
                os.fchown(descriptor, status.st_uid, status.st_gid)
                file.write(text.encode(_ENCODING))
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    @staticmethod
    def _program() -> str:
        """The tor on PATH, if nobody else can change it; never a program that the control port names."""
        found = shutil.which("tor", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
        if found is None:
            raise ConfigurationError("the program tor is not on PATH: it has to check the new torrc first")
        try:
            check_file(Path(found), believed_users("root"))
        except ControlError as error:
            raise ConfigurationError(f"tor cannot check the new torrc: {error}") from error
        return found

    def _as_tor_user(self) -> dict[str, Any]:
        """Have the check run as tor runs: it refuses folders of others, and changes to a User of torrc by itself."""
        if os.geteuid() != 0 or self._controller.get_conf("User", None):
            return {}
        user = tor_user(self._controller)
        if user is None or user.pw_uid == 0:
            return {}
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}


def _is_this_machine(control: str) -> bool:
    return control.startswith(UNIX) or parse_socket(control)[0].startswith("127.") or parse_socket(control)[0] == "::1"


def _why_refused(output: str) -> str:
    """The last warnings of tor, the first of which names the option."""
    warnings = [line.partition("[warn] ")[2] for line in output.splitlines() if "[warn] " in line]
    why = warnings[-2:] if warnings and "See logs" in warnings[-1] else warnings[-1:]
    text = "; ".join(reason.strip().rstrip(".") for reason in why) or "no reason given"
    return "".join(char if char.isprintable() else "?" for char in text)
