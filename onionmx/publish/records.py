"""The onion-MX records of a domain and the forms in which name servers take them; no I/O.

An onion-MX record is an SRV record (RFC 2782) at `_onion-mx._tcp.DOMAIN` whose targets are onions.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from onionmx.domain import MAX_SRV_DOMAIN_LENGTH, SRV_PREFIX, Domain
from onionmx.errors import DomainError, OnionError
from onionmx.onion import DEFAULT_PORT, SUFFIX, parse_onion, parse_port
from onionmx.target import MOST_TARGETS, Target, in_order

DEFAULT_PRIORITY = 0
DEFAULT_WEIGHT = 5
"""Any number but 0 does: RFC 2782 gives targets of weight 0 next to no share beside others."""
_MAX_NUMBER = 65535  # priority and weight have 16 bits (RFC 2782)
_SRV = 33  # RFC 2782, "The format of the SRV RR"
_FIELDS_OF_A_TARGET = 4
# Letters, digits, hyphen and underscore are written as they are in tinydns-data; all else may be written in octal.
_TINYDNS_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass(frozen=True, slots=True)
class OnionMxRecords:
    """What a domain says of its onion MXes.

    Attributes:
        targets: in any order; none means no record at all.
        ttl: seconds that others may keep it.
    """

    domain: Domain
    targets: tuple[Target, ...]
    ttl: int

    @property
    def name(self) -> str:
        """Owner of the records, fully qualified, with the final dot."""
        return owner_of(self.domain)


def owner_of(domain: str) -> str:
    """The name of the records of a domain, with the final dot."""
    return f"{SRV_PREFIX}{domain}."


def check_domain_name(domain: Domain) -> str:
    """Refuse a domain that cannot have an onion-MX record; gives it back.

    Raises:
        DomainError: it is an onion itself, or too long for the labels in front.
    """
    if domain.endswith(SUFFIX):
        raise DomainError(f"{domain} is an onion itself: mail finds it without a record, and DNS knows no onions")
    if len(domain) > MAX_SRV_DOMAIN_LENGTH:
        raise DomainError(
            f"{domain} has {len(domain)} characters: at most {MAX_SRV_DOMAIN_LENGTH} leave room for {SRV_PREFIX[:-1]}"
        )
    return domain


def parse_target(text: str) -> Target:
    """Read `ONION[:PORT[:PRIORITY[:WEIGHT]]]`; without them 25, 0 and 5.

    Raises:
        OnionError: not of that form.
    """
    onion, *numbers = text.split(":")
    if len(numbers) >= _FIELDS_OF_A_TARGET:
        raise OnionError(f"{text!r} has {len(numbers) + 1} parts: expected ONION[:PORT[:PRIORITY[:WEIGHT]]]")
    port = parse_port(numbers[0]) if numbers else DEFAULT_PORT
    priority = _number(numbers[1], "priority") if len(numbers) > 1 else DEFAULT_PRIORITY
    weight = _number(numbers[2], "weight") if len(numbers) > 2 else DEFAULT_WEIGHT  # noqa: PLR2004 -- the third number
    return Target(parse_onion(onion), port, priority, weight)


def parse_targets(texts: Iterable[str]) -> tuple[Target, ...]:
    """Read several targets, and put them in order.

    Raises:
        OnionError: one is not of that form, two are the same onion and port, or there are too many.
    """
    targets = sorted(map(parse_target, texts), key=in_order)
    seen = set()
    for target in targets:
        if target.endpoint in seen:
            raise OnionError(f"{target.onion}:{target.port} is named twice: expected one record for each")
        seen.add(target.endpoint)
    if len(targets) > MOST_TARGETS:
        raise OnionError(f"{len(targets)} onions for one domain: at most {MOST_TARGETS} are looked at")
    return tuple(targets)


def to_srv_text(target: Target) -> str:
    """The data of the record in zone file text."""
    return f"{target.priority} {target.weight} {target.port} {target.onion}."


def to_zone_text(records: Iterable[OnionMxRecords]) -> str:
    """Lines for a zone file, with full names (RFC 1035 section 5.1)."""
    return "".join(
        f"{each.name} {each.ttl} IN SRV {to_srv_text(target)}\n" for each in records for target in each.targets
    )


def to_nsupdate(records: Iterable[OnionMxRecords], server: tuple[str, int] | None = None) -> str:
    """A script for nsupdate(1) that makes the records the only ones at their names, whatever is there now.

    One message for each domain: it is not known here which domains share a zone, and a message is for one zone. A
    domain without targets loses its records.

    Args:
        records: what should be there.
        server: address and port of the primary; without one, nsupdate asks DNS for it.
    """
    lines = [f"server {server[0]} {server[1]}"] if server else []
    for each in records:
        # Beside a CNAME a server passes over the record in silence (RFC 2136 section 3.4.2.2); now it says so.
        lines += [f"prereq nxrrset {each.name} IN CNAME"] if each.targets else []
        lines.append(f"update delete {each.name} IN SRV")
        lines += [f"update add {each.name} {each.ttl} IN SRV {to_srv_text(target)}" for target in each.targets]
        lines.append("send")
    return "".join(f"{line}\n" for line in lines)


def to_tinydns(records: Iterable[OnionMxRecords]) -> str:
    """Generic lines for tinydns-data, `:fqdn:n:rdata:ttl` (https://cr.yp.to/djbdns/tinydns-data.html)."""
    return "".join(
        f":{each.name.removesuffix('.')}:{_SRV}:{_in_octal(_to_wire(target))}:{each.ttl}\n"
        for each in records
        for target in each.targets
    )


def to_json(records: Iterable[OnionMxRecords]) -> list[dict[str, Any]]:
    """The records as JSON holds them."""
    return [
        {"domain": each.domain, "name": each.name, "type": "SRV", "ttl": each.ttl, "targets": each.targets}
        for each in records
    ]


def _number(text: str, what: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_NUMBER)) and int(text) <= _MAX_NUMBER:
        return int(text)
    raise OnionError(f"{text!r} is not a {what}: expected a number from 0 to {_MAX_NUMBER}")


def _to_wire(target: Target) -> bytes:
    numbers = b"".join(number.to_bytes(2, "big") for number in (target.priority, target.weight, target.port))
    labels = [label.encode("ascii") for label in target.onion.split(".")]
    return numbers + b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _in_octal(data: bytes) -> str:
    return "".join(chr(byte) if byte in _TINYDNS_PLAIN else f"\\{byte:03o}" for byte in data)
