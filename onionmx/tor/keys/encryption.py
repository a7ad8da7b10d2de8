"""Encrypted backups: age for a key pair, OpenSSL for a passphrase; both can be undone without onionmx.

age(1) takes a passphrase from a terminal only, so that nobody could make a backup by cron with it.
"""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from onionmx.credential import read_named_secret
from onionmx.errors import ConfigurationError, InputError, OwnerError
from onionmx.files import read_configured
from onionmx.net.owned_path import check_path
from onionmx.text import escaped

AGE = "/usr/bin/age"
OPENSSL = "/usr/bin/openssl"
"""Where Debian's packages have them."""
ITERATIONS = 600_000
"""Of PBKDF2, which make each guess of a passphrase dear; OpenSSL keeps none in the file, so this stays as it is."""
_CIPHER = ("enc", "-aes-256-cbc", "-pbkdf2", "-iter", str(ITERATIONS), "-md", "sha256")
_AGE_BEGINNINGS = (b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")
_OPENSSL_BEGINNING = b"Salted__"
_TIMEOUT = 120.0  # seconds; PBKDF2 takes one or two, also on a slow machine


class _RefusedError(ConfigurationError):
    """The program could not do it with this key."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What encrypts or decrypts: a file of age's keys, or one with a passphrase.

    Attributes:
        age: recipients to encrypt for, or identities to decrypt with.
        passphrase: a file whose first line is the passphrase.
    """

    age: Path | None = None
    passphrase: Path | None = None


def encrypted(content: bytes, secrets: Secrets) -> bytes:
    """Encrypt.

    Raises:
        ConfigurationError: the program or the file of keys is missing or cannot be used.
    """
    if secrets.age is not None:
        recipients = read_configured(secrets.age, "the file of recipients")
        return _run(AGE, ("--encrypt", "--recipients-file"), content, recipients, secrets.age)
    return _openssl(("-e", "-salt"), content, secrets)


def decrypted(content: bytes, secrets: Secrets) -> bytes:
    """Decrypt.

    Raises:
        InputError: the content is no such file.
        ConfigurationError: the program or the file of keys is missing or cannot be used, or is not that of the backup.
    """
    if content.startswith(_AGE_BEGINNINGS):
        if secrets.age is None:
            raise InputError("it was encrypted for a key of age: name its file with --identity")
        return _run(AGE, ("--decrypt", "--identity"), content, _secret(secrets.age, "the identity"), secrets.age)
    if not content.startswith(_OPENSSL_BEGINNING):
        raise InputError("it is not a backup of an onion service: neither age nor openssl has encrypted it")
    if secrets.passphrase is None:
        raise InputError("it was encrypted with a passphrase: name its file with --passphrase")
    try:
        return _openssl(("-d",), content, secrets)
    except _RefusedError as error:
        raise InputError(f"{secrets.passphrase} is not its passphrase, or it is damaged") from error


def _openssl(words: Sequence[str], content: bytes, secrets: Secrets) -> bytes:
    if secrets.passphrase is None:
        raise ConfigurationError("a backup needs a file with recipients or with a passphrase")
    line = _secret(secrets.passphrase, "the passphrase").split(b"\n")[0].rstrip(b"\r")
    if not line or b"\0" in line:
        raise ConfigurationError(f"the passphrase {secrets.passphrase}: expected one line of text")
    return _run(OPENSSL, (*_CIPHER, *words, "-pass"), content, line + b"\n", secrets.passphrase)


def _secret(path: Path, what: str) -> bytes:
    return read_named_secret(str(path), what)


def _run(program: str, words: Sequence[str], content: bytes, key: bytes, key_path: Path) -> bytes:
    """Run a program that reads its key from a pipe: neither on a command line nor in a file of ours is it seen."""
    _check_program(program)
    reading, writing = os.pipe()
    # In a thread: a file of keys may be larger than a pipe.
    writer = Thread(target=_feed, args=(writing, key))
    writer.start()
    name = f"fd:{reading}" if program == OPENSSL else f"/dev/fd/{reading}"
    try:
        done = subprocess.run(  # noqa: S603 -- no shell; the program is root's
            [program, *words, name],
            input=content,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT,
            pass_fds=(reading,),
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            start_new_session=True,  # without a terminal no program can ask for anything
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(f"{program} did not run: {error}") from error
    finally:
        os.close(reading)  # which ends the writer, if the program has not read everything
        writer.join()
    if done.returncode:
        why = escaped(next(iter(done.stderr.decode("utf-8", "replace").splitlines()), "no reason given"))[:300]
        raise _RefusedError(f"{key_path}: {Path(program).name} refused: {why.removeprefix('age: error: ')}")
    return done.stdout


def _feed(descriptor: int, key: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as pipe:  # it has ended, and says why
        pipe.write(key)


def _check_program(program: str) -> None:
    if not Path(program).exists():
        raise ConfigurationError(f"{program} is not there: apt install {Path(program).name}")
    try:
        check_path(Path(program), ())
    except OwnerError as error:
        raise ConfigurationError(f"{program} cannot be trusted with a key: {error}") from error
