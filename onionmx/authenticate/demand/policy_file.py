"""The MTA-STS policies that live lookups know, in a file, so that a restart frees no domain from its policy.

JSON, with a version. Several processes may share the file: each keeps what the others have written.
"""

from collections.abc import Container, Iterable, Mapping
from functools import partial
from pathlib import Path

import msgspec

from onionmx.authenticate.demand.policy import MAX_AGE
from onionmx.authenticate.demand.requirement import EnforcedPolicy, Kind
from onionmx.authenticate.demand.sts import GRACE
from onionmx.clock import Timestamp
from onionmx.config import Configuration
from onionmx.domain import normalize, shown
from onionmx.errors import InputError
from onionmx.files import replacing
from onionmx.saved import Saved, SavedError, changing, load, read_saved, saved_in

FORMAT = 1
NAME = "policies"
MOST = 10_000
"""Domains; those whose policies were fetched longest ago are left out above it."""
MAX_SIZE = 32 << 20
"""Bytes of the file; above it they are left out too."""
_MODE = 0o600  # it tells to whom this host writes


class _Content(Saved):
    policies: list[EnforcedPolicy]


def policy_file(configuration: Configuration) -> Path:
    """Where the policies of this service are."""
    return saved_in(configuration, NAME)


def read_policies(path: Path, now: Timestamp) -> dict[str, EnforcedPolicy]:
    """Read what `write_policies` wrote, by domain, but for policies that ended long ago.

    Args:
        path: the file; where there is none, nothing is known.

    Raises:
        SavedError: it cannot be read, or is damaged.
    """
    return load(path, MAX_SIZE, partial(parse_policies, now=now)) or {}


def parse_policies(content: bytes, now: Timestamp) -> dict[str, EnforcedPolicy]:
    """Read the content of the file.

    Raises:
        InputError: damaged, or of another version.
    """
    found = read_saved(content, _Content, FORMAT).policies
    for each in found:
        if normalize(each.domain) != each.domain:
            raise InputError(f"it is damaged: {shown(each.domain)} is not in normal form")
    # A clock that was wrong makes no policy that never ends.
    return {each.domain: each for each in found if is_kept(each) and now - GRACE < each.expires <= now + 2 * MAX_AGE}


def write_policies(path: Path, known: Mapping[str, EnforcedPolicy], without: Container[str], now: Timestamp) -> None:
    """Put policies into a file, beside those that others have written there.

    Args:
        path: the file; its folder is made.
        known: by domain.
        without: domains that are known to have no policy.

    Raises:
        SavedError: it could not be written; the old one stays.
    """
    with changing(path, _MODE):
        policies = _merged(path, known, without, now)
        with replacing(path, _MODE) as file:
            file.write(_written(policies))


def is_kept(requirement: EnforcedPolicy) -> bool:
    """Whether it is a policy; what else a domain demands is asked for anew."""
    return requirement.demand.kind is Kind.MTA_STS


def _merged(
    path: Path, known: Mapping[str, EnforcedPolicy], without: Container[str], now: Timestamp
) -> Iterable[EnforcedPolicy]:
    try:
        there = read_policies(path, now)
    except SavedError:
        there = {}  # written anew
    policies = {domain: policy for domain, policy in there.items() if domain not in without}
    for domain, policy in known.items():
        if is_kept(policy) and (domain not in policies or policies[domain].fetched <= policy.fetched):
            policies[domain] = policy
    return policies.values()


def _written(policies: Iterable[EnforcedPolicy]) -> bytes:
    newest = sorted(policies, key=lambda policy: policy.fetched, reverse=True)[:MOST]
    pieces: list[bytes] = []
    size = 100
    for policy in newest:
        piece = msgspec.json.encode(policy)
        size += len(piece) + 1
        if size > MAX_SIZE:
            break
        pieces.append(piece)
    return b'{"format":%d,"policies":[%b]}' % (FORMAT, b",".join(pieces))
