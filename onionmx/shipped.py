"""Files that come with onionmx beside its code: Exim's fragments, units and examples, the documents.

A wheel and Debian's package hold them as data of the package; in a checkout they are at its root.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from onionmx.errors import ConfigurationError

FOLDERS = ("deploy", "docs", "exim")
"""What is shipped; pyproject.toml puts the same into the wheel."""
NOT_SHIPPED = tuple(PurePosixPath("deploy") / name for name in ("debian", "image", "ci"))
"""How package and image are built, and where CI runs."""
PACKAGE = Path(__file__).parent


def shipped(name: str) -> Path:
    """The path of a shipped file or folder.

    Args:
        name: its name with slashes, such as `exim/relay/conf.d` or `deploy/onionmx-relay.service`.

    Raises:
        ConfigurationError: nothing of this name is shipped, or this installation lacks it.
    """
    wanted = PurePosixPath(name)
    if not _is_shipped(wanted):
        raise ConfigurationError(f"{name} does not come with onionmx: `onionmx files` lists what does")
    path = _root() / wanted
    if not path.exists():
        raise ConfigurationError(f"{path} is missing: `onionmx files` lists what comes with onionmx")
    return path


def shipped_files() -> Iterator[str]:
    """The names of all shipped files, sorted."""
    root = _root()
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            name = PurePosixPath(path.relative_to(root))
            if path.is_file() and _is_shipped(name):
                yield str(name)


def _is_shipped(name: PurePosixPath) -> bool:
    return (
        name.parts[:1] in {(folder,) for folder in FOLDERS}
        and ".." not in name.parts
        and not any(name.is_relative_to(folder) for folder in NOT_SHIPPED)
    )


def _root() -> Path:
    installed = PACKAGE / "share"  # a link to /usr/share/onionmx in Debian's package
    return installed.resolve() if installed.is_dir() else PACKAGE.parent
