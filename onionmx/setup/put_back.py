"""A file as it was before setup, with what others have changed since."""

from onionmx.setup.manifest import File, digest
from onionmx.setup.programs.blocks import stripped
from onionmx.setup.steps import ENCODING, FileState
from onionmx.setup.system import System

KEPT_SUFFIX = ".onionmx-kept"
"""Behind the name of a file of ours that somebody has changed; no program reads a file of such a name."""


def was_changed(file: File, now: FileState | None) -> bool:
    """Whether somebody else has changed a whole file of ours, which is then kept under another name."""
    if not file.whole or now is None or (file.original and now == file.original.state):
        return False
    return digest(now.content) not in file.written


def restored(file: File, now: FileState | None) -> FileState | None:
    """The file as it will be; `None` where there will be none.

    Args:
        file: what setup knows of it.
        now: as it is.

    Raises:
        ConfigurationError: half of a mark is gone.
    """
    if file.whole:
        return file.original.state if file.original else None
    if now is None:
        return None
    content = stripped(now.text, file.path).encode(ENCODING)
    return FileState(content, now.mode, now.uid, now.gid) if content or file.existed else None


def keep_copy(system: System, path: str, now: FileState) -> str:
    """Keep a file as it is beside it, before what somebody has changed in it goes; gives the name of the copy."""
    kept = f"{path}{KEPT_SUFFIX}"
    system.clear_draft(kept)
    system.write(kept, now.content, now)
    return kept


def put_back(system: System, file: File) -> str:
    """Take what is ours out of a file, or the file away.

    Returns:
        What the administrator should know; empty for nothing.
    """
    system.clear_draft(file.path)
    now = system.read(file.path)
    wanted = restored(file, now)
    said = ""
    if was_changed(file, now):
        kept = f"{file.path}{KEPT_SUFFIX}"
        system.rename(file.path, kept)
        said = f"{file.path} was changed since: kept as {kept}"
    if wanted is None:
        system.remove(file.path)
    elif wanted != now:
        system.write(file.path, wanted.content, wanted)
    return said
