"""docs/security.md: the tests that it names are there, and each party has one."""

import re

from tests.e2e.programs import PROJECT

TEXT = (PROJECT / "docs/security.md").read_text()
PARTIES = ("network", "resolver", "domain owner", "onion MX", "client", "local user", "host of the fleet", "tor")
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)


def test_named_tests_are_there() -> None:
    assert len(NAMED) > len(PARTIES)
    for path, name in NAMED:
        assert (PROJECT / path).is_file(), path
        if name:
            text = (PROJECT / path).read_text()
            assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{path}::{name}"


def test_every_mention_of_a_test_is_checked() -> None:
    assert len(re.findall("tests/", TEXT)) == len(NAMED)


def test_each_party_has_a_test() -> None:
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)+)", TEXT, re.MULTILINE))
    for party in PARTIES:
        assert any(party in heading and "`tests/" in body for heading, body in sections.items()), party


def test_the_policy_points_there() -> None:
    assert "(docs/security.md)" in (PROJECT / "SECURITY.md").read_text()
    assert "`SECURITY.md`" in TEXT
