"""The private virtual environment: moved to where it will be installed, without what is needed to build only."""

import re
import shutil
from pathlib import Path

HOME = "/usr/lib/onionmx"
INTERPRETER = f"{HOME}/bin/python3"
PROGRAMS = ("onionmx", "onionmx-route")
UNUSED_PACKAGES = ("pygments", "markdown_it", "mdurl")
"""Rich loads them for highlighted code and Markdown, which onionmx does not print."""
UNUSED_FOLDERS = frozenset({"__pycache__", "docs", "test", "tests"})
UNUSED_SUFFIXES = frozenset({".pyc", ".h", ".c", ".pyx", ".pxd", ".pxi", ".pyi", ".typed"})
UNUSED_RECORDS = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})
"""What pip notes for itself in *.dist-info; it names files that are not there any more, and the folder of the build."""
SHEBANG = re.compile(rb"^#!.*python[0-9.]*( .*)?\n")


def site_packages(environment: Path) -> Path:
    """The folder of its packages."""
    (folder,) = environment.glob("lib/python3.*/site-packages")
    return folder


def remove_unused_packages(environment: Path) -> None:
    """Remove what other packages ask for and onionmx never loads."""
    packages = site_packages(environment)
    for name in UNUSED_PACKAGES:
        for path in (packages / name, *packages.glob(f"{name}*-*.dist-info")):
            shutil.rmtree(path)
    for path in packages.glob("yaml/_yaml.*.so"):  # libyaml; onionmx uses the loaders in Python
        path.unlink()


def clean(environment: Path) -> None:
    """Leave what runs: no caches, tests, documents of others, headers, sources of extensions, notes of pip."""
    for path in sorted(site_packages(environment).rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if path.name in UNUSED_FOLDERS:
                shutil.rmtree(path)
        elif path.suffix in UNUSED_SUFFIXES or (
            path.parent.name.endswith(".dist-info") and path.name in UNUSED_RECORDS
        ):
            path.unlink()
        elif path.suffix == ".py" and (code := path.read_bytes()).startswith(b"#!"):  # a module, never a program
            path.write_bytes(b"# " + code.removeprefix(b"#!"))


def relocate(environment: Path, version: str, bin_folder: Path) -> None:
    """Let it work at `HOME`, and put the two programs where users find them.

    Args:
        environment: where it was made.
        version: of Python, as `3.11`.
        bin_folder: `/usr/bin` of the package.
    """
    bin_folder.mkdir(parents=True)
    for name in PROGRAMS:
        script = (environment / "bin" / name).read_bytes()
        private, found = SHEBANG.subn(b"#!%s -I\n" % INTERPRETER.encode(), script, count=1)
        if not found:
            raise ValueError(f"bin/{name} does not begin with the name of its interpreter")
        (bin_folder / name).write_bytes(private)
        (bin_folder / name).chmod(0o755)
    for path in environment.iterdir():
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.name != "lib":
            shutil.rmtree(path)
    (environment / "bin").mkdir()
    (environment / "bin" / "python3").symlink_to(f"../../../bin/python{version}")
    (environment / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n"
    )
