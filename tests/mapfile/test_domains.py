from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import LocalSection
from onionmx.errors import ConfigurationError
from onionmx.mapfile.domains import read_domains, read_local_domains


def test_lists_are_normalized_and_joined() -> None:
    lists = [("a", b"# mine\nEXAMPLE.org.\n\n b\xc3\xbccher.example # books\r\n"), ("b", b"example.org\nexample.net")]
    assert read_domains(lists) == ["example.org", "xn--bcher-kva.example", "example.net"]


def test_every_bad_line_is_named() -> None:
    content = b"example.org\nuser@example.org\nexample.net x\n" + b"y" * 300 + b"\nexa\0mple\n\xff\n"
    with pytest.raises(ConfigurationError) as caught:
        read_domains([("domains", content)])
    assert [line.split(" ")[0] for line in str(caught.value).splitlines()] == [
        f"domains:{number}:" for number in (2, 3, 4, 5, 6)
    ]


def test_a_wrong_file_does_not_flood_the_screen() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_domains([("domains", b"not a domain\n" * 1000)])
    assert len(str(caught.value).splitlines()) == 21
    assert str(caught.value).endswith("and 980 more problems")


@given(st.binary())
def test_any_content_is_read_or_refused(content: bytes) -> None:
    try:
        assert all(read_domains([("domains", content)]))
    except ConfigurationError as error:
        assert str(error).startswith("domains:")


def test_local_domains_come_from_the_list_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "own"
    file.write_text("# ours\nTwo.example\n")
    assert read_local_domains(LocalSection(domains=("ONE.example.",), file=str(file))) == {"one.example", "two.example"}
    assert read_local_domains(LocalSection()) == frozenset()
    for settings, why in (
        (LocalSection(file=str(tmp_path / "missing")), "local.file .*missing cannot be read: No such file"),
        (LocalSection(domains=("one.example", "a b")), "local.domains:2: 2 words"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            read_local_domains(settings)
