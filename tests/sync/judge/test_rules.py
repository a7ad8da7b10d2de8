from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import Configuration, SyncSection
from onionmx.defaults import DAY
from onionmx.errors import ConfigurationError
from onionmx.sync.judge.rules import TrustPolicy, make_rules, read_beliefs


def test_exceptions_and_the_default(tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_text("# ours\nBANK.example. dnssec\nbücher.example  any # books\n")
    beliefs = read_beliefs(file, may_be_missing=False)
    assert beliefs == {"bank.example": TrustPolicy.DNSSEC, "xn--bcher-kva.example": TrustPolicy.ANY}
    rules_of = make_rules(SyncSection(hold=1.5, max_stale_days=2), beliefs, authenticates=False)
    assert rules_of("bank.example").belief is TrustPolicy.DNSSEC
    rules = rules_of("other.example")
    assert (rules.belief, rules.hold, rules.max_stale, rules.authenticates) == (
        TrustPolicy.TOFU,
        1.5 * DAY,
        2 * DAY,
        False,
    )


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_text(
        "a.example\nb.example maybe\nuser@c.example any\nd.example any any\ne.example any\ne.example tofu\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        read_beliefs(file, may_be_missing=False)
    lines = str(caught.value).splitlines()
    assert [line.split(" ")[0] for line in lines] == [f"{file}:{number}:" for number in (1, 2, 3, 4, 6)]
    assert "expected `domain`, then dnssec, tofu, any" in lines[0]


def test_missing_or_unreadable(tmp_path: Path) -> None:
    assert read_beliefs(tmp_path / "none", may_be_missing=True) == {}
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigurationError, match=r"sync\.trust_of"):
            read_beliefs(path, may_be_missing=False)


@given(st.binary())
def test_any_content_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any-trust"
    file.write_bytes(content)
    try:
        assert set(read_beliefs(file, may_be_missing=False).values()) <= set(TrustPolicy)
    except ConfigurationError as error:
        assert str(error).startswith(str(file))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("trust = 'all'", "sync.trust: Invalid enum value 'all'"),
        ("hold = -1", "sync.hold: Expected `float` >= 0"),
        ("min_interval = 604800\nmax_interval = 3600", "sync: sync.min_interval is 604800, above sync.max_interval"),
        ("max_interval = 3600", "sync: sync.negative_interval is 86400, above sync.max_interval, 3600"),
        ("max_removal = 20", "sync.max_removal: Expected `float` <= 1"),
        ("store = 'redis://host'", "sync: sync.store"),
    ],
)
def test_impossible_settings_are_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Configuration.parse(f"[sync]\n{text}".encode(), "file")
    assert str(caught.value).startswith(f"configuration file: {why}")
