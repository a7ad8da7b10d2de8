"""Who can read the secrets of this machine: passwords and keys that the configuration names, and the onion's key."""

import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from onionmx.config import Configuration
from onionmx.credential import PREFIX, STORES, encrypted_store
from onionmx.doctor.finding import AS_ROOT, Finding, not_checked, ok, problem, warning
from onionmx.doctor.machine import Machine, in_thread
from onionmx.doctor.runner import Check, Topic
from onionmx.errors import ConfigurationError, OwnerError
from onionmx.files import is_missing
from onionmx.net.owned_path import check_path
from onionmx.tor.service.identity import SECRET_KEY

SECRETS = Topic(
    "secrets",
    "each secret that the configuration names, and the key of the onion service, is there for its owner alone",
    "anyone who has the store's password can make routes for all hosts; with the key of the name server he can move "
    "the record, with the onion's key receive its mail",
)
_SYNC_USER = "onionmx"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


async def look_at_secrets(machine: Machine) -> Sequence[Finding]:
    """Look at the modes and owners of all of them; none is read."""
    return await in_thread(lambda: judge_secrets(machine.configuration))


def judge_secrets(configuration: Configuration, stores: Iterable[str] = STORES) -> list[Finding]:
    """Judge each secret by its file.

    Args:
        stores: folders where systemd looks for credentials.
    """
    named = {
        **configuration.sync.secrets(),
        "tor.control_password_file": configuration.tor.control_password_file,
        "publish.tsig_file": configuration.publish.tsig_file,
    }
    users = tuple(dict.fromkeys((_sync_user(Path(configuration.map.path).parent), configuration.tor.user)))
    findings, sound = [], []
    for option, name in named.items():
        if not name:
            continue
        is_credential = name.startswith(PREFIX)
        found = _of_credential(option, name, stores) if is_credential else _of_file(option, Path(name), users)
        if found is None:
            sound.append(option)
        else:
            findings.append(found)
    if found := _of_onion(Path(configuration.onion.directory, SECRET_KEY), users):
        findings.append(found)
    words = f"{', '.join(sound)}: nobody else can read them" if sound else "the configuration names none"
    return findings or [ok(SECRETS.name, words)]


def _sync_user(folder: Path) -> str:
    """Who runs sync: the owner of the folder of the map, unless that is root or there is none yet."""
    with suppress(OSError):
        if uid := folder.stat().st_uid:
            return str(uid)
    return _SYNC_USER


def _of_file(option: str, path: Path, users: Sequence[str]) -> Finding | None:
    """What is wrong with a file, or could not be found out."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _OTHERS:
            return problem(SECRETS.name, f"{option}: {path} has mode {mode:04o}", f"chmod 0600 {path}")
        check_path(path, users)
    except FileNotFoundError:
        return problem(SECRETS.name, f"{option}: {path} does not exist", f"onionmx.toml: {option}")
    except OSError as error:
        return not_checked(SECRETS.name, f"{option}: {path} cannot be looked at: {error.strerror}", AS_ROOT)
    except OwnerError as error:
        if error.__cause__ is not None:
            return not_checked(SECRETS.name, f"{option}: {error}", AS_ROOT)
        return problem(SECRETS.name, f"{option}: {error}", f"namei -l {path}   # whose it and its folders are")
    return None


def _of_onion(key: Path, users: Sequence[str]) -> Finding | None:
    with suppress(ConfigurationError):  # looking at it says why
        if is_missing(key):
            return None  # tor may run elsewhere
    return _of_file("onion.directory", key, users)


def _of_credential(option: str, named: str, stores: Iterable[str]) -> Finding | None:
    name = named.removeprefix(PREFIX)
    plain = [Path(store, name) for store in stores]
    encrypted = [encrypted_store(store) / name for store in stores]
    try:
        clear = [path for path in plain if not is_missing(path)]
        safe = [path for path in encrypted if not is_missing(path)]
    except ConfigurationError as error:
        return not_checked(SECRETS.name, f"{option}: {error}", AS_ROOT)
    if clear and safe:
        words = f"{option}: {safe[0]} is encrypted, and {clear[0]} holds it in the clear"
        return warning(SECRETS.name, words, f"shred -u {clear[0]}")
    if clear:
        return _of_file(option, clear[0], ())
    if safe:
        return None
    return not_checked(
        SECRETS.name,
        f"{option}: credential {name} is neither in {plain[0].parent} nor in {encrypted[0].parent}, so its unit has it "
        "from elsewhere, or not at all",
        "docs/credentials.md",
    )


CHECK = Check((SECRETS,), look_at_secrets)
