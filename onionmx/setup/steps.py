"""What a plan is made of: files to be changed, commands to be run, in stages; values, no I/O."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff

from onionmx.setup.programs.blocks import stripped

ENCODING = "latin-1"
"""Of files of others: their bytes come out as they went in."""
NEW_MODE = 0o644


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it is.

    Attributes:
        content: its bytes.
        mode: permissions.
        uid: owner.
        gid: group.
    """

    content: bytes
    mode: int = NEW_MODE
    uid: int = 0
    gid: int = 0

    @property
    def text(self) -> str:
        """Its content as text, one character a byte."""
        return self.content.decode(ENCODING)


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that is to have another content.

    Attributes:
        path: absolute.
        content: to be there; `None` for what was there before setup.
        whole: whether the file is one of our own, which goes when setup is undone; else it has marked blocks.
    """

    path: str
    content: bytes | None
    whole: bool = False

    @classmethod
    def of_text(cls, path: str, text: str) -> "FileChange":
        """A file of others with our blocks."""
        return cls(path, text.encode(ENCODING))


def diff(path: str, before: FileState | None, after: FileState | None) -> str:
    """What changes in a file, as a unified diff; empty where nothing does.

    Args:
        before: as it is; `None` where there is none.
        after: as it will be.
    """
    texts = [state.content.decode("utf-8", "replace") if state else "" for state in (before, after)]
    old, new = (text.splitlines(keepends=True) for text in texts)
    lines = unified_diff(old, new, path if before else "/dev/null", path if after else "/dev/null")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def without_ours(state: FileState | None, path: str) -> str:
    """The text of a file of others without our blocks; empty where there is no file."""
    return "" if state is None else stripped(state.text, path)


@dataclass(frozen=True, slots=True)
class SetupCommand:
    """A command to be run.

    Attributes:
        words: program and arguments; no shell.
        is_check: it changes nothing for good, and says whether what the files say can be used.
        needs_systemd: it makes sense only where systemd runs.
        may_fail: a failure is told, but ends nothing.
    """

    words: tuple[str, ...]
    is_check: bool = False
    needs_systemd: bool = False
    may_fail: bool = False

    def __str__(self) -> str:
        return shlex.join(self.words)


@dataclass(frozen=True, slots=True)
class Wait:
    """Something that has to be there before the next stage.

    Attributes:
        what: a file or the path of a socket, or IP:PORT.
        seconds: patience.
        why: in words, should it not come.
    """

    what: str
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class SetupStage:
    """The changes that one program needs; after it the program works with them.

    Attributes:
        name: of the program.
        changes: of files, in order.
        steps: commands and waits after the changes; skipped where nothing of this stage has changed.
        units: to be enabled and running when it is over; stopped first where it is undone.
        back: commands after the files have been put back.
    """

    name: str
    changes: tuple[FileChange, ...] = ()
    steps: tuple[SetupCommand | Wait, ...] = ()
    units: tuple[str, ...] = ()
    back: tuple[SetupCommand, ...] = ()

    @property
    def commands(self) -> Iterator[SetupCommand]:
        """The commands among its steps."""
        return (step for step in self.steps if isinstance(step, SetupCommand))
