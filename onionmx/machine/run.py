"""Running the programs that make and check a root."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from onionmx.errors import ConfigurationError, TemporaryError
from onionmx.text import escaped

_PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "nft": "nftables",
    "ip": "iproute2",
    "dpkg-deb": "dpkg",
    "apt-config": "apt",
}
"""Programs, and the Debian packages that have them."""
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_LAST_LINES = 3


def check_programs() -> None:
    """Look whether all that is needed is installed.

    Raises:
        ConfigurationError: something is missing; the text says how to install it.
    """
    missing = [package for name, package in _PACKAGES.items() if shutil.which(name, path=_ENVIRONMENT["PATH"]) is None]
    if missing:
        raise ConfigurationError(f"missing: apt-get install {' '.join(sorted(missing))}")


def run(words: Sequence[str | Path], *, keep: Sequence[int] = (), timeout: float = 900.0) -> str:
    """Run a program; return what it writes.

    Args:
        words: it and its arguments.
        keep: descriptors that it gets too.
        timeout: seconds.

    Raises:
        TemporaryError: it failed, or took too long; one line with its last words.
    """
    environment = _ENVIRONMENT | {
        name: os.environ[name] for wanted in _PROXIES for name in (wanted, wanted.upper()) if name in os.environ
    }
    try:
        done = subprocess.run(  # noqa: S603 -- no shell; the words are ours
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=keep,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(f"{words[0]} was not done after {timeout:g} s") from error
    except OSError as error:
        raise TemporaryError(f"{words[0]} cannot be run: {error.strerror}") from error
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        raise TemporaryError(f"{words[0]} ended with {done.returncode}: {last_words(output)}")
    return output


def last_words(output: str) -> str:
    """The end of what a program wrote, on one line: of its errors, where it marks them as apt and mmdebstrap do."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if line.startswith("E: ")] or lines
    return "; ".join(escaped(line) for line in lines[-_LAST_LINES:]) or "it said nothing"
