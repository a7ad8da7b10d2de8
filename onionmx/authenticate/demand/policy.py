"""What MTA-STS writes into DNS and onto a web server (RFC 8461 section 3); no I/O."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from onionmx.domain import Domain, normalize, shown
from onionmx.errors import DomainError, TemporaryError

MAX_POLICY_SIZE = 65536
"""Bytes of a policy (RFC 8461 section 3.3 suggests this limit)."""
MAX_AGE = 31557600
"""Seconds for which a policy may hold at most: about a year (RFC 8461 section 3.2)."""
WILDCARD = "*."

_VERSION = "STSv1"
# sts-version sts-field-delim of RFC 8461 section 3.1, where sts-field-delim = *WSP ";" *WSP.
_RECORD_START = re.compile(rb"v=STSv1[ \t]*;")
# sts-id and sts-extension of RFC 8461 section 3.1; the version came before.
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([\x21-\x3a\x3c\x3e-\x7e]+)", re.ASCII)
_IDENTIFIER = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,10}", re.ASCII)
_WHITE = " \t"


class PolicyError(TemporaryError):
    """What the policy host serves is not a policy; one line of what is wrong with it."""


class Mode(StrEnum):
    """What the domain asks of senders (RFC 8461 section 5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy.

    Attributes:
        mode: what senders have to do.
        patterns: names of MX hosts in normal form, some with `*.` in front; empty only in mode none.
        max_age: seconds for which it holds.
    """

    mode: Mode
    patterns: tuple[str, ...]
    max_age: int


def read_records(texts: Iterable[bytes]) -> str | None:
    """Find the identifier of the policy in the TXT records of `_mta-sts` (RFC 8461 section 3.1).

    Args:
        texts: one for each record, its strings joined.

    Returns:
        The identifier; `None` where the records announce no policy, which several of them do not either.
    """
    announcing = [text for text in texts if _RECORD_START.match(text)]
    return _identifier(announcing[0]) if len(announcing) == 1 else None


def _identifier(text: bytes) -> str | None:
    try:
        _, *fields = text.decode("ascii").rstrip(_WHITE).removesuffix(";").split(";")
    except UnicodeDecodeError:
        return None
    found: dict[str, str] = {}
    for field in fields:
        if not (match := _FIELD.fullmatch(field.strip(_WHITE))):
            return None
        found.setdefault(match[1], match[2])
    identifier = found.get("id", "")
    return identifier if _IDENTIFIER.fullmatch(identifier) else None


def read_policy(content: bytes) -> Policy:
    """Read a policy (RFC 8461 section 3.2). Fields that are not known are left aside.

    Raises:
        PolicyError: it cannot be used.
    """
    if len(content) > MAX_POLICY_SIZE:
        raise PolicyError(f"the policy is larger than {MAX_POLICY_SIZE} bytes")
    single: dict[str, str] = {}
    patterns: dict[str, None] = {}
    for line in _lines(content):
        name, colon, value = line.partition(":")
        if not colon:
            raise PolicyError(f"line {shown(line)} of the policy has no colon: expected NAME: VALUE")
        name, value = name.strip(_WHITE), value.strip(_WHITE)
        if name == "mx":
            patterns[_pattern(value)] = None
        else:
            single.setdefault(name, value)
    if single.get("version") != _VERSION:
        raise PolicyError(f"the policy has not the version {_VERSION}")
    mode = _mode(single.get("mode"))
    if not patterns and mode is not Mode.NONE:
        raise PolicyError("the policy names no MX")
    return Policy(mode, tuple(patterns), _max_age(single.get("max_age")))


def matches_pattern(pattern: str, host: Domain) -> bool:
    """Whether a pattern allows a host; `*` matches the whole first label (RFC 8461 section 4.1).

    Args:
        pattern: in normal form, perhaps with `*.` in front.
    """
    if not pattern.startswith(WILDCARD):
        return pattern == host
    label, _, parent = host.partition(".")
    return bool(label) and parent == pattern.removeprefix(WILDCARD)


def agree(pattern: str, name: str) -> bool:
    """Whether there is a host that the pattern allows and for which the certificate is.

    Args:
        name: of the certificate, perhaps with `*.` in front too (RFC 6125 section 6.4.3).
    """
    pattern, name = pattern.lower(), name.lower()
    if name.startswith(WILDCARD):
        return pattern == name or (not pattern.startswith(WILDCARD) and matches_pattern(name, pattern))
    return matches_pattern(pattern, name)


def _lines(content: bytes) -> list[str]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError(f"byte {error.start} of the policy is not UTF-8 text") from error
    # Not splitlines: only CRLF and LF end a line here.
    return [line for line in (part.removesuffix("\r") for part in text.split("\n")) if line.strip(_WHITE)]


def _mode(text: str | None) -> Mode:
    try:
        return Mode(text or "")
    except ValueError:
        expected = ", ".join(Mode)
        raise PolicyError(f"the policy has mode {shown(text or '')}: expected one of {expected}") from None


def _max_age(text: str | None) -> int:
    if text is None or not _SECONDS.fullmatch(text):
        raise PolicyError(f"the policy has max_age {shown(text or '')}: expected seconds")
    return min(int(text), MAX_AGE)


def _pattern(text: str) -> str:
    wildcard = WILDCARD if text.startswith(WILDCARD) else ""
    name = text.removeprefix(WILDCARD)
    try:
        found = normalize(name)
    except DomainError as error:
        raise PolicyError(f"the policy has mx {shown(text)}: {error}") from error
    return wildcard + found
