"""The key with which updates are signed (TSIG, RFC 8945), from the files that BIND and Knot DNS write."""

import binascii
import re
from base64 import b64decode
from typing import Any

import dns.exception
import dns.name
import dns.tsig
import yaml

from onionmx.credential import read_named_secret
from onionmx.domain import shown
from onionmx.errors import ConfigurationError

ALGORITHMS = {
    name.to_text(omit_final_dot=True).lower(): name
    for name in (
        dns.tsig.HMAC_SHA1,
        dns.tsig.HMAC_SHA224,
        dns.tsig.HMAC_SHA256,
        dns.tsig.HMAC_SHA384,
        dns.tsig.HMAC_SHA512,
    )
}
"""RFC 8945 section 6, without MD5, which it forbids to new set-ups."""
_EXPECTED = (
    'expected key "NAME" { algorithm ALGORITHM; secret "BASE64"; }; as tsig-keygen writes it, '
    "or the key: list of keymgr -t, or NAME:ALGORITHM:SECRET"
)
# Strings are matched first, and // begins a comment only where a word may begin: base64 may hold it.
_STRING_OR_COMMENT = re.compile(r'("[^"\n]*")|/\*.*?\*/|(?<![^\s;{}])(?://|#)[^\n]*', re.DOTALL)
_BIND_KEY = re.compile(r'key\s+("[^"]*"|[^\s{"]+)\s*\{([^{}]*)\}\s*;?')
_BIND_STATEMENT = re.compile(r'\s*([a-z]+)\s+("[^"]*"|[^\s;"]+)\s*;')
_ONE_LINE = re.compile(r"([^\s:]+):([^\s:]+):(\S+)")


def read_key(named: str) -> dns.tsig.Key:
    """Read the key of a file that nobody but its owner may read, or of a credential.

    Args:
        named: the path, or `credential:NAME`.

    Raises:
        ConfigurationError: it cannot be read, others may read it, or it holds no key, or more than one.
    """
    return parse_key(named, read_named_secret(named, "the TSIG key"))


def parse_key(file: str, content: bytes) -> dns.tsig.Key:
    """Find the one key in the content of a file. No message shows any of the secret.

    Args:
        file: its name, for messages.
        content: `key "NAME" { algorithm ...; secret "..."; };` as tsig-keygen writes it for BIND; the `key:` list
            that `keymgr -t` writes for Knot DNS; or one line NAME:ALGORITHM:SECRET as kdig takes it, or
            ALGORITHM:NAME:SECRET as dig does.

    Raises:
        ConfigurationError: no key, more than one, or one that cannot be used.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8 text: {_EXPECTED}") from error
    keys = _bind_keys(text) or _one_line(text) or _knot_keys(text)
    if not keys:
        raise ConfigurationError(f"{file} holds no TSIG key: {_EXPECTED}")
    if len(keys) > 1:
        raise ConfigurationError(f"{file} holds {len(keys)} keys: put the one for the updates into a file of its own")
    return _key(file, *keys[0])


def _bind_keys(text: str) -> list[tuple[str, str, str]]:
    keys = []
    for match in _BIND_KEY.finditer(_STRING_OR_COMMENT.sub(lambda match: match[1] or " ", text)):
        statements = dict(_BIND_STATEMENT.findall(match[2]))
        if statements.keys() >= {"algorithm", "secret"}:
            name, algorithm, secret = match[1], statements["algorithm"], statements["secret"]
            keys.append((name.strip('"'), algorithm.strip('"'), secret.strip('"')))
    return keys


def _one_line(text: str) -> list[tuple[str, str, str]]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    matches = [_ONE_LINE.fullmatch(line) for line in lines]
    keys = []
    for match in matches:
        if match is None:
            return []
        first, second, secret = match.groups()
        keys.append((second, first, secret) if _normal(first) in ALGORITHMS else (first, second, secret))
    return keys


def _knot_keys(text: str) -> list[tuple[str, str, str]]:
    try:
        document: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return []
    found = document.get("key") if isinstance(document, dict) else None
    entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    return [
        (str(entry["id"]), str(entry["algorithm"]), str(entry["secret"]))
        for entry in entries
        if entry.keys() >= {"id", "algorithm", "secret"}
    ]


def _key(file: str, name: str, algorithm: str, secret: str) -> dns.tsig.Key:
    if _normal(algorithm) not in ALGORITHMS:
        raise ConfigurationError(
            f"{file}: {shown(algorithm)} is not an algorithm for a key: expected one of {', '.join(ALGORITHMS)}"
        )
    try:
        owner = dns.name.from_text(name)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ConfigurationError(f"{file}: {shown(name)} is not the name of a key: expected a domain name") from error
    try:
        raw = b64decode(secret.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ConfigurationError(f"{file}: the secret of key {shown(name)} is not base64") from error
    if not raw:
        raise ConfigurationError(f"{file}: the secret of key {shown(name)} is empty")
    return dns.tsig.Key(owner, raw, ALGORITHMS[_normal(algorithm)])


def _normal(algorithm: str) -> str:
    return algorithm.lower().removesuffix(".")
