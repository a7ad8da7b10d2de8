"""Taking all back: the files as they were, with the changes of others; the units off; the keys stay."""

from dataclasses import dataclass, field

from onionmx.setup.engine import Say
from onionmx.setup.manifest import File, Manifest, remove, store
from onionmx.setup.put_back import keep_copy, put_back
from onionmx.setup.system import System


@dataclass(slots=True)
class Undone:
    """What became of it.

    Attributes:
        problems: commands that failed.
        notes: what the administrator should know.
        to_run: commands that somebody has to run, for want of systemd.
        is_unfinished: a program did not take its old files, and what it uses was left.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    to_run: list[str] = field(default_factory=list)
    is_unfinished: bool = False


def undo(system: System, manifest: Manifest, say: Say, *, systemd: bool, delete_keys: bool) -> Undone:
    """Take all back. Begun twice, after a crash, it goes on.

    Args:
        manifest: of what was done.
        say: for each step.
        systemd: whether it runs here.
        delete_keys: whether the onion service's keys go too.
    """
    result = Undone()
    manifest.undoing = True
    store(system, manifest)
    for part in reversed(manifest.parts):
        for unit in reversed(part.units):
            _run(system, ["systemctl", "disable", "--now", unit], say, result, systemd=systemd)
        for file in reversed(part.files):
            _take_back(system, manifest, file, say, result)
        known = len(result.problems)
        for words in part.back:
            _run(system, words, say, result, systemd=systemd)
        result.is_unfinished = len(result.problems) > known
        if result.is_unfinished:
            # What a program uses that did not take its old files stays: the relay, and tor's ports.
            result.notes.append("the rest was left as it is: fix this, and run `onionmx setup --undo` again")
            return result
    for folder in reversed(manifest.folders):
        system.remove_folder(folder)
    if manifest.onion_directory and system.exists(manifest.onion_directory):
        if delete_keys:
            say(f"delete {manifest.onion_directory}")
            system.remove_tree(manifest.onion_directory)
        else:
            result.notes.append(f"the key of the onion service stays in {manifest.onion_directory}")
    remove(system)
    result.to_run = list(dict.fromkeys(result.to_run))  # tor, whose service goes, before the MTA, which trusts again
    return result


def _take_back(system: System, manifest: Manifest, file: File, say: Say, result: Undone) -> None:
    say(f"take back {file.path}")
    now = system.read(file.path)
    if now is not None and manifest.has_edited_blocks(file.path, now):
        kept = keep_copy(system, file.path, now)
        result.notes.append(f"{file.path} was changed within the lines of setup: kept as {kept}")
    if note := put_back(system, file):
        result.notes.append(note)


def _run(system: System, words: list[str], say: Say, result: Undone, *, systemd: bool) -> None:
    if words[0] == "systemctl" and not systemd:
        result.to_run.append(" ".join(words))
        return
    say(f"run {' '.join(words)}")
    done = system.run(words)
    if done.code:
        result.problems.append(f"{' '.join(words)} ended with {done.code}: {done.said}")
