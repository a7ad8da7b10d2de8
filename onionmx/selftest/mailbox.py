"""Watching a mailbox for messages that were not there before: a Maildir, or a file in mbox format.

Nothing is changed in it, but for the answer that the user wants deleted from a Maildir.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from onionmx.errors import TemporaryError
from onionmx.files import open_regular, read_regular

MAX_ANSWER = 1 << 20
"""Bytes of an answer; an echo sends a few thousand."""
_MAX_TAIL = 16 << 20
"""Bytes that may come to an mbox meanwhile and be read."""
_FROM_LINE = re.compile(rb"(?:\A|\n)From [^\n]*\n")
_MAILDIR = ("new", "cur")


class MailboxError(TemporaryError):
    """The mailbox cannot be read."""


class Mailbox(Protocol):
    """A mailbox, watched since it was made."""

    def arrived(self) -> Iterator[tuple[Path | None, bytes]]:
        """Messages that have come since, each with the file it has for itself, if it has one.

        Raises:
            MailboxError: it cannot be read.
        """


class Maildir:
    """A Maildir; messages that a program has moved from new to cur meanwhile are found too.

    MTAs make the folders in it at the first delivery.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = {_unique(path) for path in self._paths()}
        self._owner = folder.stat().st_uid

    def arrived(self) -> Iterator[tuple[Path | None, bytes]]:
        """See `Mailbox`."""
        for path in self._paths():
            if _unique(path) in self._seen:
                continue
            try:
                content = read_regular(path, MAX_ANSWER)
            except FileNotFoundError:  # moved to cur, and found there next time
                continue
            except OSError:  # too large to be the answer, or not for us
                content = b""
            self._seen.add(_unique(path))
            yield path, content

    def remove(self, message: Path) -> None:
        """Delete a message that has arrived here; one that a mail reader has moved or deleted is left to him.

        Root deletes nothing of others: whose mailbox it is could put a link to their folder in the place of his own.

        Raises:
            MailboxError: it cannot be deleted.
        """
        if message.parent.parent != self._folder:
            return
        try:
            folder = os.open(message.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.geteuid() == 0 and os.fstat(folder).st_uid != self._owner:
                    raise MailboxError(f"{message} is not deleted: its folder is not that of the mailbox's owner")
                os.unlink(message.name, dir_fd=folder)
            finally:
                os.close(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise MailboxError(f"{message} cannot be deleted: {error.strerror}") from error

    def _paths(self) -> list[Path]:
        found: list[Path] = []
        for name in _MAILDIR:
            try:
                found += sorted((self._folder / name).iterdir())
            except FileNotFoundError:
                continue
            except OSError as error:
                raise MailboxError(f"{self._folder} cannot be read: {error.strerror}") from error
        return found


def _unique(path: Path) -> str:
    """The name without the flags, which programs change (maildir(5))."""
    return path.name.partition(":")[0]


class Mbox:
    """A file in mbox format, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = self._size()

    def arrived(self) -> Iterator[tuple[Path | None, bytes]]:
        """See `Mailbox`; each time all that has come, as the last message may have been half written before."""
        size = self._size()
        if size < self._start:  # a mail reader has taken messages out
            self._start = 0
        if size == self._start:
            return
        try:
            with open_regular(self._path) as file:
                file.seek(self._start)
                tail = file.read(_MAX_TAIL)
        except OSError as error:
            raise MailboxError(f"{self._path} cannot be read: {error.strerror}") from error
        for content in _FROM_LINE.split(tail):
            if content and len(content) <= MAX_ANSWER:
                yield None, content

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise MailboxError(f"{self._path} cannot be read: {error.strerror}") from error


def open_mailbox(path: Path) -> Mailbox:
    """A mailbox at a path: a folder is a Maildir.

    Raises:
        MailboxError: it cannot be read.
    """
    return Maildir(path) if path.is_dir() else Mbox(path)


def usual_mailboxes(user: str, home: Path) -> list[Path]:
    """Where a user's mail is delivered on this host: where both can be, both are watched."""
    maildir = home / "Maildir"
    return [Path("/var/mail", user), *([maildir] if (maildir / "new").is_dir() else [])]
