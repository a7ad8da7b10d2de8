"""Maps for tests."""

from pathlib import Path

from hypothesis import strategies as st

from onionmx.authenticate.proof.published import keeping_demands
from onionmx.mapfile.cdb import DEFERS
from onionmx.mapfile.entries import Entries
from onionmx.mapfile.write import publish
from tests.onions import make_onion

ONIONS = [make_onion(number) for number in range(5)]
A, B, C = ONIONS[:3]

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
endpoints = st.tuples(st.sampled_from(ONIONS), st.one_of(st.just(25), st.integers(1, 65535)))
values = st.lists(endpoints, min_size=1, max_size=4, unique=True).map(tuple) | st.just(DEFERS)
entries = st.dictionaries(domains, values, max_size=30)


def make_map(path: Path, content: Entries | None = None) -> Path:
    """A map with these entries, or with one."""
    entries = {"example.org": ((A, 25), (B, 2525))} if content is None else content
    with keeping_demands(path, entries):
        publish(path, entries)
    return path
