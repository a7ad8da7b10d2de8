"""What a backup of an onion service has in it: a tar archive of the files of its folder; no I/O.

A tar archive, so that without onionmx, too, `tar -x` brings a decrypted backup back.
"""

import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from io import BytesIO
from types import MappingProxyType
from typing import TypeVar

from onionmx.errors import InputError
from onionmx.onion import parse_onion
from onionmx.tor.nobody import onion_with
from onionmx.tor.service.balance import OB_CONFIG, parse_ob_config
from onionmx.tor.service.client_keys import AUTH, FOLDER, parse_auth
from onionmx.tor.service.identity import (
    PUBLIC_KEY,
    SECRET_KEY,
    format_public_key_file,
    parse_public_key_file,
    parse_secret_key,
    public_key_of,
)
from onionmx.tor.service.running import HOSTNAME

CHECKSUMS = "SHA256SUMS"
"""Checksums of all others, in the form of sha256sum(1): not every encryption shows that bytes have changed."""
MOST_CLIENTS = 10_000
_MAX_SIZE = 65536  # bytes of a file; the largest is a key of 96, or a list of fronts
_MODE = 0o600
_T = TypeVar("_T")
_CLIENT = re.compile(rf"{FOLDER}/[^/\0\n]{{1,240}}{re.escape(AUTH)}")


@dataclass(frozen=True, slots=True)
class ServiceFiles:
    """The files of an onion service, of which it is known that they belong together.

    Attributes:
        onion: its address.
        files: contents by path in its HiddenServiceDir.
    """

    onion: str
    files: Mapping[str, bytes] = field(repr=False)

    @property
    def clients(self) -> int:
        """How many clients it has."""
        return sum(name.startswith(FOLDER) for name in self.files)


def service_files(files: Mapping[str, bytes]) -> ServiceFiles:
    """Check that the secret key gives the public key, and that the address.

    A public key or a host name that is not there is made, as tor does.

    Args:
        files: contents by path in the HiddenServiceDir.

    Raises:
        InputError: the secret key is missing, a file does not belong to an onion service or cannot be used, or they do
            not fit together.
    """
    complete: dict[str, bytes] = {}
    for name, content in files.items():
        if name not in (SECRET_KEY, PUBLIC_KEY, HOSTNAME, OB_CONFIG) and not _CLIENT.fullmatch(name):
            raise InputError(f"{name!r} is not a file of an onion service")
        complete[name] = content
    if SECRET_KEY not in complete:
        raise InputError(f"there is no {SECRET_KEY}")
    key = _checked(SECRET_KEY, lambda: public_key_of(parse_secret_key(complete[SECRET_KEY])))
    if PUBLIC_KEY not in complete:
        complete[PUBLIC_KEY] = format_public_key_file(key)
    if _checked(PUBLIC_KEY, lambda: parse_public_key_file(complete[PUBLIC_KEY])) != key:
        raise InputError(f"{SECRET_KEY} and {PUBLIC_KEY} do not belong together")
    onion = onion_with(key)
    named = _checked(HOSTNAME, lambda: parse_onion(_text(complete.get(HOSTNAME, onion.encode())).strip()))
    if named != onion:
        raise InputError(f"{HOSTNAME} names {named}, but the key is that of {onion}")
    complete[HOSTNAME] = f"{onion}\n".encode()
    if OB_CONFIG in complete:
        _checked(OB_CONFIG, lambda: parse_ob_config(_text(complete[OB_CONFIG])))
    for name, content in complete.items():
        if name.startswith(FOLDER):
            _checked(name, partial(parse_auth, _text(content)))
    return ServiceFiles(onion, MappingProxyType(complete))


def pack(service: ServiceFiles) -> bytes:
    """The archive of a service."""
    sums = "".join(f"{sha256(content).hexdigest()}  {name}\n" for name, content in sorted(service.files.items()))
    result = BytesIO()
    with tarfile.open(fileobj=result, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in [*sorted(service.files.items()), (CHECKSUMS, sums.encode())]:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), _MODE
            archive.addfile(member, BytesIO(content))
    return result.getvalue()


def unpack(content: bytes) -> ServiceFiles:
    """Read an archive.

    Raises:
        InputError: it is damaged, or is something else.
    """
    files = _members(content)
    listed = {name: digest for digest, name in _sums(files.pop(CHECKSUMS, b""))}
    if listed != {name: sha256(body).hexdigest() for name, body in files.items()}:
        raise InputError(f"it is damaged: the files are not those in its {CHECKSUMS}")
    return service_files(files)


def _members(content: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=BytesIO(content), mode="r:") as archive:
            while member := archive.next():
                body = archive.extractfile(member) if member.isreg() and member.size <= _MAX_SIZE else None
                if body is None or member.name in files or len(files) > MOST_CLIENTS:
                    files.clear()
                    break
                files[member.name] = body.read()
    # What tarfile makes of bytes that are no archive is not confined to its own errors.
    except (tarfile.TarError, ValueError, EOFError, OSError, OverflowError, ArithmeticError, LookupError) as error:
        raise InputError("it is not a backup of an onion service") from error
    if not files:
        raise InputError("it is not a backup of an onion service")
    return files


def _sums(content: bytes) -> list[tuple[str, str]]:
    lines = _text(content).split("\n")
    return [(digest, name) for digest, _, name in (line.partition("  ") for line in lines) if name]


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _checked(name: str, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
