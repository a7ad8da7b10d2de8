"""The parts of a run as the configuration describes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onionmx.config import Configuration
from onionmx.config.store import parse_store
from onionmx.config.sync import STATE_NAME, SyncSection
from onionmx.errors import StateError
from onionmx.files import is_missing
from onionmx.mapfile.domains import read_local_domains
from onionmx.mapfile.entries import Entries
from onionmx.mapfile.pins import read_pins
from onionmx.sync.build import Base
from onionmx.sync.judge.rules import RulesOf, TrustPolicy, make_rules, read_beliefs
from onionmx.sync.judge.schedule import LONGEST_STRETCH
from onionmx.sync.state.overlay import DryRunStore
from onionmx.sync.state.store import Store
from onionmx.sync.stores import open_store


@contextmanager
def opened_store(configuration: Configuration, *, to_write: bool) -> Iterator[Store]:
    """The store, closed at the end.

    Args:
        to_write: else what is written to it is forgotten, and a file that does not exist is not made.

    Raises:
        ConfigurationError: its password cannot be read.
        StateError: it cannot be opened, is damaged, or belongs to a newer version.
    """
    settings = configuration.sync
    place = parse_store(store_setting(configuration))
    if not to_write and isinstance(place, Path) and is_missing(place):
        yield DryRunStore(None)
        return
    store = open_store(place, settings, longest_wait=settings.max_interval * LONGEST_STRETCH)
    try:
        yield store if to_write else DryRunStore(store)
    finally:
        store.close()


@contextmanager
def opened_known_store(configuration: Configuration) -> Iterator[Store]:
    """The store, for reading what sync remembers.

    Raises:
        ConfigurationError: its password cannot be read.
        StateError: there is none, or see `opened_store`.
    """
    place = parse_store(store_setting(configuration))
    if isinstance(place, Path) and is_missing(place):
        raise StateError(f"{place} is missing: `onionmx sync` has remembered nothing yet")
    with opened_store(configuration, to_write=False) as store:
        yield store


def store_setting(configuration: Configuration) -> str:
    """Where the store is, as `sync.store` writes it or would have to."""
    return configuration.sync.store or str(Path(configuration.map.path).with_name(STATE_NAME))


def own_pins(configuration: Configuration, pins: str | None) -> Entries | None:
    """The pins of this host; `None` where it has none of its own, and takes those of the hosts that share the store.

    Args:
        configuration: where the file is that may be missing.
        pins: a file in its place.

    Raises:
        ConfigurationError: it has mistakes; all of them are named.
    """
    settings = configuration.sync
    path = Path(pins or settings.pins)
    if pins is None and is_shared(settings) and is_missing(path):
        return None
    return read_pins(path, may_be_missing=settings.pins == SyncSection().pins and pins is None)


def read_base(configuration: Configuration, pins: Entries) -> Base:
    """Read what decides beside the store.

    Raises:
        ConfigurationError: one of the files has mistakes; all of them are named.
    """
    settings = configuration.sync
    beliefs = _beliefs(settings)
    authenticates = configuration.authenticate.mode != "off"
    return Base(
        pins,
        read_local_domains(configuration.local),
        make_rules(settings, beliefs, authenticates=authenticates),
        authenticates,
        repr((settings.trust, sorted(beliefs.items()), configuration.authenticate.mode)),
    )


def configured_rules(configuration: Configuration) -> RulesOf:
    """What is believed of each domain.

    Raises:
        ConfigurationError: the file of `sync.trust_of` has mistakes; all of them are named.
    """
    authenticates = configuration.authenticate.mode != "off"
    return make_rules(configuration.sync, _beliefs(configuration.sync), authenticates=authenticates)


def _beliefs(settings: SyncSection) -> dict[str, TrustPolicy]:
    return read_beliefs(Path(settings.trust_of), may_be_missing=settings.trust_of == SyncSection().trust_of)


def is_shared(settings: SyncSection) -> bool:
    """Whether several hosts use the store."""
    return bool(settings.store) and not isinstance(parse_store(settings.store), Path)
