"""The policies that live lookups know survive a restart."""

import asyncio
import multiprocessing
import stat
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.authenticate.demand.policy_file import (
    MAX_SIZE,
    MOST,
    parse_policies,
    read_policies,
    write_policies,
)
from onionmx.authenticate.demand.policy_lookup import PolicyAnswer
from onionmx.authenticate.demand.remember import RememberedPolicyLookup
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind
from onionmx.errors import InputError
from onionmx.saved import SavedError
from tests.authenticate.domains import DEMAND, DOMAIN, NOTHING, UNKNOWN, Domains

NOW = 1_700_000_000.0
DAY = 86400.0
POLICY = EnforcedPolicy(DOMAIN, DEMAND, NOW + 300, NOW + 30 * DAY, "1", NOW)
DANE = replace(POLICY, demand=Demand(Kind.DANE, ("mx.example.org",)))


def policy(domain: str) -> EnforcedPolicy:
    return replace(POLICY, domain=domain)


def played(path: Path, *said: PolicyAnswer, domains: tuple[str, ...] = (DOMAIN,)) -> list[EnforcedPolicy | None]:
    """What was known of each domain when it was asked, in a run that begins and ends."""

    async def run() -> list[EnforcedPolicy | None]:
        asked = Domains(*said)
        policy_lookup = RememberedPolicyLookup(asked, lambda: NOW)
        policy_lookup.keep_in(path)
        for domain in domains:
            await policy_lookup.requirement_of(domain)
        await policy_lookup.close()
        return asked.known

    return asyncio.run(run())


def test_what_is_known_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "policies"
    assert played(path, POLICY) == [None]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    # An attacker who silences DNS after the restart frees nobody, nor after another one.
    assert played(path, UNKNOWN) == [POLICY]
    assert played(path, NOTHING) == [POLICY]
    assert played(path, UNKNOWN) == [None]


def test_only_policies_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "policies"
    played(path, DANE, UNKNOWN, NOTHING, domains=("a.example", "b.example", "c.example"))
    assert not path.exists()


def test_a_look_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "policies"
    played(path, POLICY)
    before = path.stat().st_ino
    played(path, replace(POLICY, look_at=NOW + 900, trouble="blocked"))
    assert path.stat().st_ino == before


def _run_beside_others(path: Path, number: int) -> None:
    names = tuple(f"d{index}.p{number}.example" for index in range(10))
    for name in names:
        played(path, policy(name), domains=(name,))


def test_processes_keep_what_the_others_have_written(tmp_path: Path) -> None:
    path = tmp_path / "policies"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_run_beside_others, args=(path, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(read_policies(path, NOW)) == 30


def test_the_newer_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "policies"
    write_policies(path, {DOMAIN: replace(POLICY, fetched=NOW, identifier="new")}, (), NOW)
    write_policies(path, {DOMAIN: replace(POLICY, fetched=NOW - DAY, identifier="old")}, (), NOW)
    assert read_policies(path, NOW)[DOMAIN].identifier == "new"


def test_what_ended_long_ago_or_never_ends_is_left_aside(tmp_path: Path) -> None:
    path = tmp_path / "policies"
    write_policies(
        path, {DOMAIN: POLICY, "never.example": replace(POLICY, domain="never.example", expires=1e12)}, (), NOW
    )
    assert set(read_policies(path, NOW)) == {DOMAIN}
    assert set(read_policies(path, POLICY.expires + DAY)) == {DOMAIN}
    assert set(read_policies(path, POLICY.expires + 2 * DAY)) == set()


def test_the_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "policies"
    many = {f"d{n}.example": replace(POLICY, domain=f"d{n}.example", fetched=NOW + n) for n in range(MOST + 5)}
    write_policies(path, many, (), NOW)
    found = read_policies(path, NOW)
    assert len(found) == MOST
    assert "d4.example" not in found
    long = Demand(Kind.MTA_STS, tuple(f"mx{n}.example.org" for n in range(4000)))
    write_policies(path, {name: replace(each, demand=long) for name, each in many.items()}, (), NOW)
    assert path.stat().st_size <= MAX_SIZE
    assert len(read_policies(path, NOW)) > 100


@pytest.mark.parametrize("content", [b"", b"x", b"{}", b'{"format":2,"policies":[]}', b'{"format":1,"policies":[{}]}'])
def test_a_damaged_file_is_told_and_written_anew(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "policies"
    path.write_bytes(content)
    with pytest.raises(SavedError, match=str(path)):
        read_policies(path, NOW)
    assert played(path, POLICY) == [None]
    assert "fetched anew" in caplog.text
    assert set(read_policies(path, NOW)) == {DOMAIN}


def test_a_folder_that_cannot_be_written_to_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert played(tmp_path / "file" / "policies", POLICY) == [None]
    assert "cannot be written: " in caplog.text


@given(
    st.binary() | st.recursive(st.none() | st.text() | st.floats() | st.integers(), st.lists).map(msgspec.json.encode)
)
def test_parser_raises_nothing_but_its_own(content: bytes) -> None:
    for text in (content, b'{"format":1,"policies":' + content + b"}"):
        try:
            parse_policies(text, NOW)
        except InputError as error:
            assert "\n" not in str(error)


texts = st.text(max_size=20)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,9}\.example", fullmatch=True),
        st.tuples(st.lists(texts, max_size=3), texts, st.floats(NOW - DAY, NOW + 300 * DAY), st.floats(0, NOW)),
        max_size=5,
    )
)
def test_what_is_written_is_read(content: dict[str, tuple[list[str], str, float, float]]) -> None:
    known = {
        domain: EnforcedPolicy(domain, Demand(Kind.MTA_STS, tuple(names)), NOW, expires, identifier, fetched)
        for domain, (names, identifier, expires, fetched) in content.items()
    }
    written = msgspec.json.encode({"format": 1, "policies": list(known.values())})
    assert parse_policies(written, NOW) == known
