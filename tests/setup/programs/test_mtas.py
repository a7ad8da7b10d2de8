"""Which MTA handles the mail, of several that are there."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.setup.programs.mtas import MTAS, PAGE, SENDMAIL, MtaSigns, handling_mail, where_to_read
from onionmx.shipped import shipped

_BY_NAME = {signs.name: signs for signs in MTAS}


def _signs(words: str) -> list[MtaSigns]:
    return [_BY_NAME[name] for name in words.split()]


@pytest.mark.parametrize(
    ("there", "running", "sendmail", "found"),
    [
        ("Exim", "", "", "Exim"),
        ("Exim Postfix", "Exim", SENDMAIL, "Exim"),
        ("Exim Postfix", "Exim Postfix", SENDMAIL, "Exim Postfix"),
        ("Exim Postfix", "", SENDMAIL, "Postfix"),
        ("Exim Postfix", "", "/usr/sbin/exim4", "Exim"),
        ("Exim Postfix", "", "", "Exim Postfix"),
        ("Exim mox", "mox", "/usr/sbin/exim4", "mox"),
        ("Exim mox", "Exim mox", "/usr/sbin/exim4", "Exim mox"),
        ("Exim OpenSMTPD", "", "/usr/sbin/smtpctl", "OpenSMTPD"),
        ("Postfix Courier", "", SENDMAIL, "Postfix Courier"),  # both bring a file of their own
        ("Postfix Courier", "Courier", SENDMAIL, "Courier"),
        ("chasquid msmtp", "", "/usr/bin/msmtp", "chasquid"),
        ("msmtp", "", "/usr/bin/msmtp", "msmtp"),
        ("", "", "", ""),
    ],
)
def test_the_one_that_runs_or_else_the_one_behind_sendmail(there: str, running: str, sendmail: str, found: str) -> None:
    states = {name: name in running.split() for name in there.split()}
    assert list(handling_mail(_signs(there), states, sendmail)) == _signs(found)


def test_could_not_tell_is_not_no() -> None:
    there = _signs("Exim mox Haraka")
    assert list(handling_mail(there, {"Exim": None, "mox": True, "Haraka": False}, "/usr/sbin/exim4")) == there[:2]
    assert list(handling_mail(there, {"Exim": None, "mox": None, "Haraka": None}, "")) == there


@given(
    st.lists(st.sampled_from(MTAS), unique=True),
    st.dictionaries(st.sampled_from([signs.name for signs in MTAS]), st.none() | st.booleans()),
    st.sampled_from(["", SENDMAIL, *(signs.sendmail for signs in MTAS)]),
)
def test_of_those_that_are_there_at_least_one_is_found(
    there: Sequence[MtaSigns], running: dict[str, bool | None], sendmail: str
) -> None:
    found = handling_mail(there, running, sendmail)
    assert set(found) <= set(there)
    assert bool(found) == bool(there)


@pytest.mark.parametrize("signs", [signs for signs in MTAS if not signs.mta], ids=lambda signs: signs.name)
def test_one_line_says_what_to_read(signs: MtaSigns) -> None:
    said = where_to_read([signs])
    assert said.startswith(f"{signs.name} handles the mail of this host")
    assert said.isprintable()
    assert shipped(said.rpartition("onionmx files ")[2].rstrip(")")).is_file()
    assert ("install Exim or Postfix" in said) == bool(signs.lacks)


def test_each_that_can_use_the_relay_has_a_section() -> None:
    headings = {line[3:] for line in shipped(PAGE).read_text().splitlines() if line.startswith("## ")}
    assert {signs.name for signs in MTAS if signs.mta not in ("exim", "postfix") and not signs.lacks} <= headings


def test_several_are_named_in_one_line() -> None:
    assert where_to_read(_signs("Haraka mox")) == (
        "Haraka and mox handle the mail of this host, which setup does not know: "
        'read "Haraka" and "mox" in docs/other-mtas.md (onionmx files docs/other-mtas.md)'
    )
