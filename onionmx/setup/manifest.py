"""What setup has done, written before it is done: enough to go on with it, and to take it back, after any crash."""

from hashlib import sha256

import msgspec

from onionmx.defaults import STATE_DIRECTORY
from onionmx.errors import ConfigurationError
from onionmx.setup.programs.blocks import substance
from onionmx.setup.programs.wishes import SetupOptions
from onionmx.setup.steps import ENCODING, FileChange, FileState, SetupCommand, SetupStage
from onionmx.setup.system import System

FOLDER = f"{STATE_DIRECTORY}-setup"
"""Of root alone, and not below the folder of sync's user, who could put another one in its place."""
FILE = f"{FOLDER}/manifest.json"
FORMER_FOLDER = f"{STATE_DIRECTORY}/setup"
"""Where it was as long as root ran sync."""
_VERSION = 1
_MODE = 0o600


class Original(msgspec.Struct, frozen=True):
    """A file of somebody else that one of ours has taken the place of."""

    content: bytes
    mode: int
    uid: int
    gid: int

    @property
    def state(self) -> FileState:
        """As it was."""
        return FileState(self.content, self.mode, self.uid, self.gid)


class File(msgspec.Struct):
    """A file that setup changes.

    `written` has the digests of all that setup has written or is about to write: what has none of these was changed by
    somebody else since. `blocks` has those of what its blocks say, where it is a file of somebody else.
    """

    path: str
    whole: bool
    existed: bool
    original: Original | None = None
    written: list[str] = []
    blocks: list[str] = []


class ManifestPart(msgspec.Struct):
    """What one stage changes, and the commands that follow when its files have been put back."""

    name: str
    files: list[File] = []
    units: list[str] = []
    back: list[list[str]] = []


class Manifest(msgspec.Struct):
    """All of it. `pending` are the stages that have begun and are not over."""

    version: int = _VERSION
    undoing: bool = False
    wishes: SetupOptions = msgspec.field(default_factory=SetupOptions)
    pending: list[str] = []
    parts: list[ManifestPart] = []
    folders: list[str] = []
    onion_directory: str = ""

    def file(self, path: str) -> File | None:
        """What is known of a file."""
        return next((file for part in self.parts for file in part.files if file.path == path), None)

    def part(self, stage: SetupStage) -> ManifestPart:
        """What is known of a stage; new where nothing is."""
        found = next((part for part in self.parts if part.name == stage.name), None)
        if found is None:
            found = ManifestPart(stage.name)
            self.parts.append(found)
        return found

    def note(self, stage: SetupStage, change: FileChange, now: FileState | None) -> None:
        """Note that a file is about to be changed.

        Args:
            stage: whose change it is.
            now: the file as it is.
        """
        files = self.part(stage).files  # a file may be that of two stages, and goes back with each
        file = next((file for file in files if file.path == change.path), None)
        if file is None:
            kept = Original(now.content, now.mode, now.uid, now.gid) if now and change.whole else None
            file = File(change.path, change.whole, now is not None, kept)
            files.append(file)
        if change.content is not None and (seal := digest(change.content)) not in file.written:
            file.written.append(seal)
        if change.content is not None and not change.whole:
            text = change.content.decode(ENCODING)
            if (seal := digest(substance(text, change.path).encode(ENCODING))) not in file.blocks:
                file.blocks.append(seal)

    def has_edited_blocks(self, path: str, now: FileState | None) -> bool:
        """Whether somebody else has changed what the blocks in a file of his say; a manifest of old cannot tell."""
        files = [file for part in self.parts for file in part.files if file.path == path and not file.whole]
        known = {seal for file in files for seal in file.blocks}
        said = substance(now.text, path) if known and now else ""
        return bool(said) and digest(said.encode(ENCODING)) not in known

    def is_foreign(self, path: str, now: FileState | None) -> bool:
        """Whether somebody else has changed a whole file of ours since."""
        file = self.file(path)
        return file is not None and file.whole and now is not None and digest(now.content) not in file.written

    def set_back(self, stage: SetupStage, commands: tuple[SetupCommand, ...]) -> None:
        """Note the commands that follow when the files of a stage have been put back."""
        self.part(stage).back = [list(command.words) for command in commands]


def digest(content: bytes) -> str:
    """SHA-256, as hexadecimal digits."""
    return sha256(content).hexdigest()


def load(system: System) -> Manifest | None:
    """Read the manifest; `None` where setup has done nothing.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        state = system.read(FILE)
        return None if state is None else msgspec.json.decode(state.content, type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(
            f"{FILE} cannot be read: {error}; run as root, with the onionmx that wrote it"
        ) from error


def store(system: System, manifest: Manifest) -> None:
    """Write the manifest; when this returns it is on the disk."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    system.write(FILE, content, FileState(b"", _MODE, 0, 0))


def remove(system: System) -> None:
    """Forget everything: nothing of setup is left."""
    system.remove(FILE)
