"""Secrets that the configuration names: a file that its owner alone may read, or a credential that systemd hands over.

systemd puts the credentials of a unit (LoadCredential= and its like, systemd.exec(5)) into a folder that no other unit
can open, and names it in `$CREDENTIALS_DIRECTORY`. Commands that root starts by hand have no such folder: they find a
credential where systemd itself does.
"""

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from onionmx.errors import ConfigurationError
from onionmx.files import CREDENTIALS_DIRECTORY, read_secret
from onionmx.text import escaped

PREFIX = "credential:"
"""Before the name of a credential, instead of the path of a file."""
STORES = ("/etc/credstore", "/run/credstore", "/usr/lib/credstore")
"""Where systemd looks for LoadCredential=NAME, in this order (systemd.exec(5))."""
_SYSTEMD_CREDS = "/usr/bin/systemd-creds"
_TIMEOUT = 60.0  # seconds; a TPM takes one or two
# What systemd takes (credential_name_valid: a name of a file without colons), and nothing that needs quoting in a unit.
_NAME = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._@-]{1,128}")
_held: dict[str, bytes] = {}


def encrypted_store(store: str) -> Path:
    """Where systemd looks for LoadCredentialEncrypted=NAME, beside one of `STORES`."""
    return Path(f"{store}.encrypted")


def name_secret(path: str) -> str:
    """How the configuration names a file: as a credential where systemd looks for those, else by its path."""
    folder, _, name = path.rpartition("/")
    return PREFIX + name if folder in STORES and _NAME.fullmatch(name) else path


def check_secret(named: str, option: str) -> None:
    """Refuse what cannot be the name of a credential.

    Args:
        named: a path, `credential:NAME`, or empty for none.
        option: where the configuration has it.

    Raises:
        ValueError: what it should be.
    """
    if named.startswith(PREFIX) and not _NAME.fullmatch(named.removeprefix(PREFIX)):
        raise ValueError(
            f"{option}: {named!r} is not the name of a credential: expected {PREFIX}NAME of letters, digits and . _ @ "
            f"-, such as {PREFIX}onionmx.store-password"
        )


def read_named_secret(named: str, what: str) -> bytes:
    """Read a secret that the configuration or an option names.

    Args:
        named: the path of a file, or `credential:NAME`.
        what: its name in messages, such as "the store's password".

    Raises:
        ConfigurationError: it is not there, cannot be read, or others may read it.
    """
    if not named.startswith(PREFIX):
        try:
            return read_secret(Path(named), what)
        except FileNotFoundError as error:
            raise ConfigurationError(f"{what} {named} does not exist") from error
    try:
        check_secret(named, what)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    found = _held.get(named)
    if found is None:
        found = _credential(named.removeprefix(PREFIX), what)
    if found is None:
        raise ConfigurationError(f"{what}: {_missing(named.removeprefix(PREFIX))}")
    return found


def hold_credentials(named: Iterable[str]) -> None:
    """Keep credentials in memory for a process of root that is about to give its rights away.

    Args:
        named: as `read_named_secret` takes them. Files, and credentials that are not there, are left for it.

    Raises:
        ConfigurationError: one cannot be read.
    """
    for each in named:
        if each.startswith(PREFIX):
            found = _credential(each.removeprefix(PREFIX), each)
            if found is not None:
                _held[each] = found


def _credential(name: str, what: str) -> bytes | None:
    folder = os.environ.get(CREDENTIALS_DIRECTORY)
    if folder:
        _check_folder(Path(folder))
        return _read(Path(folder, name), what)
    if os.geteuid() != 0:
        return None
    for store in STORES:
        found = _read(Path(store, name), what)
        if found is None:
            found = _decrypted(encrypted_store(store) / name, what)
        if found is not None:
            return found
    return None


def _check_folder(folder: Path) -> None:
    """Refuse a folder that a user has named to root, as su(1) keeps his environment: systemd's own are root's."""
    try:
        owner = folder.stat().st_uid
    except OSError:
        return  # reading says why
    if os.geteuid() == 0 != owner:
        raise ConfigurationError(f"${CREDENTIALS_DIRECTORY} is {folder} of user {owner}, not root's: unset it")


def _read(path: Path, what: str) -> bytes | None:
    try:
        return read_secret(path, what)
    except FileNotFoundError:
        return None


def _decrypted(path: Path, what: str) -> bytes | None:
    if not path.exists():
        return None
    try:
        done = subprocess.run(  # noqa: S603 -- no shell; the program and the file are root's
            [_SYSTEMD_CREDS, "decrypt", f"--name={path.name}", path, "-"],
            capture_output=True,
            check=False,
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(f"{what} {path}: {_SYSTEMD_CREDS} did not run: {error}") from error
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").splitlines() or [f"exit code {done.returncode}"]
        raise ConfigurationError(f"{what} {path} cannot be decrypted: {escaped(lines[-1])[:300]}")
    return done.stdout


def _missing(name: str) -> str:
    folder = os.environ.get(CREDENTIALS_DIRECTORY)
    if folder:
        return (
            f"credential {name} is not in {folder}: put it into {STORES[0]}/{name}, mode 0600, or encrypted into "
            f"{encrypted_store(STORES[0])} with LoadCredentialEncrypted={name} in the unit, and start the unit again"
        )
    if os.geteuid() == 0:
        return f"credential {name} is neither in {STORES[0]} nor in {encrypted_store(STORES[0])}"
    return (
        f"credential {name}: only root, and a unit of systemd that loads it, can read it ($CREDENTIALS_DIRECTORY is "
        "not set)"
    )
