"""The machine that is set up: its files below a root folder, and its commands. All I/O of setup goes through here."""

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from onionmx.config import UNIX, parse_socket
from onionmx.errors import TemporaryError
from onionmx.files import alone, open_regular, sync_folder
from onionmx.setup.steps import NEW_MODE, FileState
from onionmx.text import escaped

COMMAND_TIMEOUT = 600.0
"""Seconds; a first sync asks for each domain of the lists, all others take moments."""
_PERMISSIONS = 0o7777
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DRAFT = ".{}.onionmx-setup"
_LINKS = 40  # as many as Linux follows, path_resolution(7)
_POLL = 0.2  # seconds between two looks at what another program makes


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command.

    Attributes:
        code: exit code; 127 where it could not be run, 124 where it took too long.
        output: standard output.
        errors: standard error.
    """

    code: int
    output: str = ""
    errors: str = ""

    @property
    def said(self) -> str:
        """Its last words, for a message."""
        lines = [line for line in (self.errors + "\n" + self.output).splitlines() if line.strip()]
        return "; ".join(escaped(line.strip()) for line in lines[-3:])


class System:
    """A machine.

    Args:
        root: its root folder; another one than / is a sandbox for tests.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def real(self, path: str) -> Path:
        """Where a file of this machine is."""
        return self.root / path.lstrip("/")

    def exists(self, path: str) -> bool:
        """Whether there is a file, a folder or a socket."""
        return self.real(path).exists()

    def leads_to(self, path: str) -> str:
        """The file that a path leads to over all links, as a path of this machine; empty where there is none."""
        for _ in range(_LINKS):
            real = self.real(path)
            if not real.is_symlink():
                return path if real.exists() else ""
            path = os.path.normpath(PurePosixPath(path).parent / real.readlink())
        return ""

    def read(self, path: str) -> FileState | None:
        """A file as it is; `None` where there is none.

        Raises:
            OSError: it cannot be read.
        """
        real = self.real(path)
        try:
            with open_regular(real) as file:
                status = os.fstat(file.fileno())
                return FileState(file.read(), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes, like: FileState | None = None) -> None:
        """Replace a file whole; after a crash it is the old one or the new one.

        Args:
            path: the file; a link stays a link.
            like: mode and owner; those of the file that is there, or 0644 and root.

        Raises:
            OSError: it cannot be written; the old one is in place.
        """
        real = Path(os.path.realpath(self.real(path)))
        like = like or self.read(path)
        # Always the same name, so that what a crash leaves is found again.
        draft = real.with_name(_DRAFT.format(real.name))
        with draft.open("wb") as file:
            os.fchmod(file.fileno(), (like.mode if like else NEW_MODE) & _PERMISSIONS)
            if like:
                with suppress(PermissionError):  # a plain user's sandbox
                    os.fchown(file.fileno(), like.uid, like.gid)
                    os.fchmod(file.fileno(), like.mode & _PERMISSIONS)
            if real.exists():
                _copy_attributes(real, draft)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._commit(draft, real)

    def _commit(self, draft: Path, real: Path) -> None:
        draft.replace(real)
        sync_folder(real.parent)

    def remove(self, path: str) -> None:
        """Remove a file, for good; nothing happens where there is none."""
        real = self.real(path)
        real.unlink(missing_ok=True)
        if real.parent.is_dir():
            sync_folder(real.parent)

    def rename(self, path: str, to: str) -> None:
        """Give a file another name in its folder."""
        self.real(path).replace(self.real(to))
        sync_folder(self.real(path).parent)

    def clear_draft(self, path: str) -> None:
        """Remove what an interrupted `write` has left."""
        real = Path(os.path.realpath(self.real(path)))
        real.with_name(_DRAFT.format(real.name)).unlink(missing_ok=True)

    def make_folder(self, path: str, mode: int = 0o755) -> None:
        """Make a folder; the one above must exist."""
        real = self.real(path)
        real.mkdir(exist_ok=True)
        real.chmod(mode)  # whatever the umask: services without root read what is in it
        sync_folder(real.parent)

    def missing_folders(self, path: str) -> list[str]:
        """The folders that a file would be in and that do not exist, from the top."""
        above = [str(folder) for folder in reversed(PurePosixPath(path).parents)]
        return [folder for folder in above if not self.exists(folder)]

    def remove_folder(self, path: str) -> None:
        """Remove a folder if it is empty."""
        with suppress(OSError):
            self.real(path).rmdir()

    def remove_tree(self, path: str) -> None:
        """Remove a folder and all that is in it."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.real(path))

    def run(self, words: Sequence[str]) -> Done:
        """Run a command, without a shell and without standard input."""
        environment = {**os.environ, "PATH": f"{_PATH}:{os.environ.get('PATH', '')}", "LC_ALL": "C.UTF-8"}
        try:
            done = subprocess.run(  # noqa: S603 -- no shell; the words are the plan's
                list(words),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=COMMAND_TIMEOUT,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            return Done(124, errors=f"took more than {COMMAND_TIMEOUT:g} s")
        except OSError as error:
            return Done(127, errors=f"{words[0]}: {error.strerror}")
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for drafts that a program is to look at; gone afterwards."""
        with TemporaryDirectory(prefix="onionmx-setup-") as name:
            yield Path(name)

    def wait_for(self, what: str, seconds: float) -> bool:
        """Wait until something is there; whether it came.

        Args:
            what: a file, a unix socket as unix:/path, or IP:PORT.
            seconds: patience; 0 looks once.
        """
        end = time.monotonic() + seconds
        while not self._is_there(what):
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL)
        return True

    def _is_there(self, what: str) -> bool:
        if what.startswith("/"):
            return self.exists(what)
        try:
            if what.startswith(UNIX):
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    connection.connect(str(self.real(what.removeprefix(UNIX))))
            else:
                socket.create_connection(parse_socket(what), timeout=1).close()
        except OSError:
            return False
        return True

    @contextmanager
    def locked(self, path: str) -> Iterator[None]:
        """Be the only one who holds a file; the kernel gives it back when the process ends.

        Raises:
            LockedError: another process has it.
            TemporaryError: it cannot be opened.
        """
        try:
            descriptor = os.open(self.real(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise TemporaryError(f"{path} cannot be opened: {error.strerror}; run as root") from error
        with alone(descriptor, "another onionmx setup is at work"):
            yield


def _copy_attributes(old: Path, new: Path) -> None:
    """Keep access lists and other extended attributes."""
    with suppress(OSError):
        for name in os.listxattr(old):
            with suppress(OSError):
                os.setxattr(new, name, os.getxattr(old, name))
