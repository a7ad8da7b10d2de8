"""What is kept beside the map of who signed what."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import EXIT_TEMPORARY, InputError
from onionmx.mapfile.cdb import format_value
from onionmx.saved import SavedError
from onionmx.sync.lists.signature import SignedList
from onionmx.sync.provenance import (
    Provenance,
    Signer,
    _parse,
    after_import,
    after_sync,
    provenance_path,
    read_provenance,
    write_provenance,
)
from tests.mapfile.maps import A, B

ENTRIES = {"a.example": format_value(((A, 25),)), "b.example": format_value(((B, 25),))}
NOTHING = Provenance(1)


def signed(*domains: str, signer: str = "alice", name: str = "/list", serial: int | None = None) -> SignedList:
    top = "" if serial is None else f"# serial: {serial}\n"
    return SignedList(name, (top + "".join(f"{domain}\n" for domain in domains)).encode(), signer)


def test_first_list_counts_and_only_entries_of_the_map() -> None:
    lists = [signed("a.example", "none.example", serial=3), signed("A.example.", "b.example", signer="bob", name="/2")]
    found = after_sync(NOTHING, lists, ENTRIES)
    assert found.signers == {"a.example": Signer("alice"), "b.example": Signer("bob")}
    assert found.serials == {"/list": 3}


def test_run_without_lists_keeps_what_is_left() -> None:
    old = Provenance(1, {"/list": 3}, {"a.example": Signer("alice"), "gone.example": Signer("alice")})
    assert after_sync(old, None, ENTRIES) == Provenance(1, {"/list": 3}, {"a.example": Signer("alice")})


def test_lists_that_are_not_signed_any_more() -> None:
    old = Provenance(1, {"/list": 3}, {"a.example": Signer("alice")})
    assert after_sync(old, (), ENTRIES) == Provenance(1, {"/list": 3}, {})


def test_signed_onions_stay_signed_while_they_are_the_same() -> None:
    old = after_import(NOTHING, signed(serial=9, name="/map"), {"a.example": ((A, 25),), "b.example": ((A, 25),)})
    assert old.signers == {"a.example": Signer("alice", A), "b.example": Signer("alice", A)}
    for lists in (None, (), (signed("a.example", signer="bob"),)):
        found = after_sync(old, lists, ENTRIES)
        assert found.signers == {"a.example": Signer("alice", A)}
        assert found.serials["/map"] == 9


def test_import_without_signature_leaves_no_signer() -> None:
    old = Provenance(1, {"/list": 3}, {"a.example": Signer("alice")})
    assert after_import(old, None, {"a.example": ((A, 25),)}) == Provenance(1, {"/list": 3}, {})


def test_written_and_read_and_written_only_if_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "map.cdb"
    assert read_provenance(path) == NOTHING
    new = Provenance(1, {"/b": 1, "/a": 2}, {"b.example": Signer("bob", B), "a.example": Signer("alice")})
    write_provenance(path, new, NOTHING)
    assert read_provenance(path) == new
    before = provenance_path(path).stat().st_ino, provenance_path(path).read_bytes()
    write_provenance(path, read_provenance(path), read_provenance(path))
    assert (provenance_path(path).stat().st_ino, provenance_path(path).read_bytes()) == before


def test_what_cannot_be_written_stays(tmp_path: Path) -> None:
    with pytest.raises(SavedError, match="cannot be written") as caught:
        write_provenance(tmp_path / "none" / "map.cdb", Provenance(1, {"/a": 1}), NOTHING)
    assert caught.value.exit_code == EXIT_TEMPORARY


@given(st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(msgspec.json.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        found = _parse(content)
    except InputError as error:
        assert "move it away" in str(error)
    else:
        assert found.format == 1
