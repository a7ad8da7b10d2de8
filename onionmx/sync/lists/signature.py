"""Lists that must be signed: who has signed one, as ssh-keygen(1) finds it out, and which one is older than another.

A signature says nothing of time, so an old list with its own signature is as good as a new one. A list may therefore
have a number that grows, in a comment that is signed with the rest: `# serial: 2026112901`.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from onionmx.errors import ConfigurationError, TemporaryError
from onionmx.files import read_configured, read_regular
from onionmx.text import escaped

NAMESPACE = "onionmx"
"""What the signature is for (ssh-keygen(1), -n): one made for something else does not count."""
SUFFIX = ".sig"
PROGRAM = "ssh-keygen"
_MOST_SIGNATURE = 65536  # bytes; one takes 300 to 1500
_MOST_PRINCIPALS = 10  # of one key that are tried
_TIME_LIMIT = 120.0  # seconds for one run, which takes a few milliseconds
_MOST_SAID = 200  # characters of what it says that are repeated
_TOP = 4096  # bytes of a list in which its serial is looked for
_SERIAL = re.compile(rb"^#[ \t]*serial:[ \t]*([0-9]{1,18})[ \t]*\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SignedList:
    """A list whose signature is right.

    Attributes:
        name: its file, as `sync.signers` has it.
        content: what was signed, byte for byte.
        signer: a principal of the file of allowed signers.
    """

    name: str
    content: bytes
    signer: str

    @property
    def serial(self) -> int | None:
        """Its number, which a later one does not fall below; `None` where it has none."""
        top = self.content[:_TOP]
        whole = top if len(top) < _TOP else top[: top.rfind(b"\n") + 1]  # no number of which the rest is cut off
        found = _SERIAL.search(whole)
        return int(found[1]) if found else None


def signed_as(signers: Mapping[str, str], name: str) -> str:
    """The name that a list which must be signed has in `sync.signers`; empty for one that need not be signed.

    Args:
        signers: `sync.signers`.
        name: of the list, as it was given.
    """
    paths = {os.path.abspath(name), os.path.realpath(name)}  # noqa: PTH100 -- Path.absolute keeps `..`
    return next((each for each in signers if paths & {os.path.normpath(each), os.path.realpath(each)}), "")


def check_signature(signers: Mapping[str, str], name: str, content: bytes) -> SignedList | None:
    """Find out who has signed a list.

    Args:
        signers: `sync.signers`.
        name: of the list.
        content: what was read of it, and is used.

    Returns:
        `None` where it need not be signed.

    Raises:
        ConfigurationError: it is not signed, or not by one of those who may.
        TemporaryError: it could not be told.
    """
    listed = signed_as(signers, name)
    if not listed:
        return None
    allowed = signers[listed]
    try:
        signature = read_regular(Path(name + SUFFIX), _MOST_SIGNATURE)
    except OSError as error:
        raise ConfigurationError(
            f"{name} must be signed (sync.signers), and {name}{SUFFIX} cannot be read: {error.strerror}"
        ) from error
    known = read_configured(Path(allowed), f"sync.signers of {name}:")
    if shutil.which(PROGRAM) is None:
        raise ConfigurationError(f"{name} must be signed, and {PROGRAM} is not there: apt install openssh-client")
    with _in_memory(signature, known) as files:
        found = _run(["-Y", "find-principals"], files, b"")
        principals = found.stdout.decode(errors="replace").splitlines()[:_MOST_PRINCIPALS]
        if found.returncode or not principals:
            raise ConfigurationError(
                f"{name} is not signed by one of those in {allowed}: {_said(found) or 'no such signer'}"
            )
        for principal in principals:
            found = _run(["-Y", "verify", "-n", NAMESPACE, "-I", principal], files, content)
            if not found.returncode:
                return SignedList(listed, content, escaped(principal))
    raise ConfigurationError(f"{name}{SUFFIX} is no signature for {name} as it is now: {_said(found)}")


def check_serials(lists: Sequence[SignedList], seen: Mapping[str, int], where: Path) -> None:
    """Refuse a list that is older than one that was used before.

    Args:
        seen: the serial of each list when it was used last.
        where: the file that has them.

    Raises:
        ConfigurationError: one is older, or does not say that it is not.
    """
    for each in lists:
        least = seen.get(each.name)
        if least is not None and (each.serial is None or each.serial < least):
            what = "no serial" if each.serial is None else f"serial {each.serial}"
            raise ConfigurationError(
                f"{each.name} has {what}, and had {least} before: an older list; if that is meant, remove {where}"
            )


@contextmanager
def _in_memory(*contents: bytes) -> Iterator[tuple[int, ...]]:
    """Open files that nobody else can change."""
    with ExitStack() as stack:
        files = [stack.enter_context(os.fdopen(os.memfd_create("onionmx"), "wb")) for _ in contents]
        for file, content in zip(files, contents, strict=True):
            file.write(content)
            file.flush()
        yield tuple(file.fileno() for file in files)


def _run(words: list[str], files: tuple[int, ...], content: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen.

    Args:
        files: the signature and the allowed signers, open.
        content: what is signed.

    Raises:
        TemporaryError: it did not come to an end.
    """
    signature, allowed = (f"/proc/self/fd/{file}" for file in files)
    try:
        found = subprocess.run(  # noqa: S603 -- the words are ours, but for a principal of the operator's file
            [PROGRAM, *words, "-s", signature, "-f", allowed],
            input=content,
            capture_output=True,
            check=False,
            timeout=_TIME_LIMIT,
            pass_fds=files,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(f"{PROGRAM} has not ended within {_TIME_LIMIT:g} s") from error
    except OSError as error:
        raise TemporaryError(f"{PROGRAM} cannot be run: {error.strerror}") from error
    if found.returncode < 0:
        raise TemporaryError(f"{PROGRAM} was ended by signal {-found.returncode}")
    return found


def _said(found: subprocess.CompletedProcess[bytes]) -> str:
    """The first line of what the program says is wrong."""
    lines = found.stderr.decode(errors="replace").splitlines() or [""]
    return escaped(lines[0].strip())[:_MOST_SAID]
