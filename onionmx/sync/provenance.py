"""Who vouches for what is in the map, kept in a file beside it, and the map with all that is known of each entry."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from onionmx.batches import batched
from onionmx.domain import Domain
from onionmx.errors import InputError
from onionmx.files import replacing
from onionmx.mapfile.cdb import DEFERS, MapReader, format_value
from onionmx.mapfile.entries import Entries
from onionmx.onion import SUFFIX, Endpoint
from onionmx.saved import Saved, SavedError, load, read_saved
from onionmx.sync.lists.files import read_lists
from onionmx.sync.lists.signature import SignedList
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.store import Store
from onionmx.target import Source, Trust

_FORMAT = 1
_EXPORT_FORMAT = 1
_MODE = 0o644  # as the map, whose domains it has
_MOST = 1 << 28  # bytes
_BATCH = 1000

Vouched = Literal["domain", "targets"]


class Signer(msgspec.Struct, frozen=True, gc=False):
    """Who has signed the file that an entry comes from.

    Attributes:
        name: a principal.
        targets: the onions of an imported file, as the map has them; `None` for a list of sync's, which has none.
    """

    name: str
    targets: str | None = None


class Provenance(Saved):
    """What the file beside the map holds.

    Attributes:
        serials: of each signed list when it was used last.
        signers: by domain, of entries of the map.
    """

    serials: dict[str, int] = {}  # noqa: RUF012 -- msgspec makes a new one for each
    signers: dict[Domain, Signer] = {}  # noqa: RUF012


class ExportedEntry(msgspec.Struct, frozen=True):
    """An entry of the map for programs.

    Attributes:
        targets: in the order in which they are tried.
        source: `map` where neither pins nor state have it so.
        trust: what vouches for it; `None` where nothing does, or it is not known.
        first_seen: when sync first had the domain in a list, in seconds since 1970; `None` for never.
        signer: who has signed the file that it comes from.
        vouched: for what: that the domain is in a list of sync's, or for the onions too.
    """

    domain: Domain
    targets: list[dict[str, Any]]
    source: Source
    trust: Trust | None
    first_seen: float | None
    signer: str | None
    vouched: Vouched | None


def provenance_path(map_path: Path) -> Path:
    """Where it is kept."""
    return map_path.with_name(f"{map_path.name}.signed")


def read_provenance(map_path: Path) -> Provenance:
    """Read it; nothing is known where there is no file.

    Raises:
        SavedError: it cannot be read, or is damaged.
    """
    return load(provenance_path(map_path), _MOST, _parse) or Provenance(_FORMAT)


def write_provenance(map_path: Path, new: Provenance, old: Provenance) -> None:
    """Write it where it has changed.

    Raises:
        SavedError: it could not be written; the old one stays.
    """
    if new == old:
        return
    ordered = Provenance(_FORMAT, dict(sorted(new.serials.items())), dict(sorted(new.signers.items())))
    path = provenance_path(map_path)
    try:
        with replacing(path, _MODE) as file:
            file.write(msgspec.json.encode(ordered))
    except OSError as error:
        raise SavedError(f"{path} cannot be written: {error.strerror}; the old one stays") from error


def after_sync(old: Provenance, signed: Sequence[SignedList] | None, entries: Mapping[str, bytes]) -> Provenance:
    """What is known once sync has written a map.

    Args:
        signed: lists of this run, the first of which counts for a domain; `None` for those of the last one.
        entries: values of the map, less those that are pinned.

    Raises:
        ConfigurationError: a list has mistakes.
    """
    signers: dict[Domain, Signer] = {}
    for each in signed or ():
        signer = Signer(each.signer)
        for domain in read_lists([(each.name, each.content)]):
            if domain in entries:
                signers.setdefault(domain, signer)
    for domain, signer in old.signers.items():
        value = entries.get(domain)
        stays = (value is not None and signed is None) if signer.targets is None else _has_signed(signer, value)
        if stays:
            signers[domain] = signer
    return Provenance(_FORMAT, old.serials | _serials(signed or ()), signers)


def after_import(old: Provenance, signed: SignedList | None, entries: Entries) -> Provenance:
    """What is known once another map was imported.

    Args:
        signed: the file, if it had to be signed.
        entries: of the map.
    """
    signers = {
        domain: Signer(signed.signer, format_value(endpoints).decode())
        for domain, endpoints in entries.items()
        if signed is not None
    }
    return Provenance(_FORMAT, old.serials | _serials([signed] if signed else ()), signers)


def exported(reader: MapReader, store: Store, pins: Entries, provenance: Provenance) -> dict[str, Any]:
    """The map with what is known of each entry, in alphabetical order; the same for the same state.

    Args:
        store: what sync remembers.
        pins: that hold.

    Raises:
        MapError: the map cannot be read.
        StateError: the store cannot be read.
    """
    return {"format": _EXPORT_FORMAT, "entries": list(_exported(reader, store, pins, provenance))}


def _exported(reader: MapReader, store: Store, pins: Entries, provenance: Provenance) -> Iterator[ExportedEntry]:
    for batch in batched(sorted(reader.entries()), _BATCH):
        records = store.get(domain for domain, _ in batch)
        for domain, endpoints in batch:
            record = records.get(domain)
            source, trust = _source_of(domain, endpoints, record, pins)
            signer = provenance.signers.get(domain) if source is not Source.PIN else None
            if signer and signer.targets is not None and not _has_signed(signer, format_value(endpoints)):
                signer = None
            yield ExportedEntry(
                domain,
                [{"onion": onion, "port": port} for onion, port in endpoints],
                source,
                trust,
                record.first_seen if record else None,
                signer.name if signer else None,
                _vouched(signer) if signer else None,
            )


def _has_signed(signer: Signer, value: bytes | None) -> bool:
    """Whether somebody has signed these onions."""
    return value is not None and signer.targets == value.decode()


def _vouched(signer: Signer) -> Vouched:
    return "domain" if signer.targets is None else "targets"


def _source_of(
    domain: str, endpoints: tuple[Endpoint, ...], record: DomainRecord | None, pins: Entries
) -> tuple[Source, Trust | None]:
    """Where an entry comes from, and what vouches for it; the map alone where neither pins nor state have it so."""
    if endpoints == DEFERS:
        return Source.SRV, None  # a record of which it is not known yet whether to believe it
    if domain in pins:
        is_the_pin = tuple(pins[domain]) == endpoints
        return (Source.PIN, Trust.PINNED) if is_the_pin else (Source.MAP, None)
    route = record.established if record else None
    if route is None or not set(endpoints) <= set(route.endpoints):
        return Source.MAP, None
    return Source.ONION if domain.endswith(SUFFIX) else Source.SRV, route.trust


def _serials(lists: Sequence[SignedList]) -> dict[str, int]:
    return {each.name: serial for each in lists if (serial := each.serial) is not None}


def _parse(content: bytes) -> Provenance:
    try:
        return read_saved(content, Provenance, _FORMAT)
    except InputError as error:
        raise InputError(
            f"{error}; move it away, and no list counts as older than another until the next run"
        ) from error
