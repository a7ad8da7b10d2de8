"""Exim's files: where fragments go, in both of Debian's ways, and what else changes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import ConfigurationError
from onionmx.setup.programs import exim
from onionmx.setup.programs.blocks import stripped
from onionmx.setup.programs.exim_template import SECTIONS, inserted_fragments, says_the_same
from tests.e2e.programs import UNPACKED
from tests.setup.sandbox import UPDATE_EXIM

ETC = UNPACKED / "etc/exim4"
TEMPLATE = (ETC / "exim4.conf.template").read_text()
CONFD = {
    f"{section}/{path.name}": path.read_text() for section in SECTIONS for path in (ETC / "conf.d" / section).iterdir()
}
FRAGMENTS = {
    "main/00_onionmx_sending": b"A = 1\n",
    "router/190_onionmx": b"onionmx:\n  driver = accept\n",
    "acl/35_onionmx_check_rcpt": b"acl_x:\n  accept",
}

EVERYWHERE = "0.0.0.0"  # noqa: S104 -- what an administrator may have written


def test_debians_two_ways_say_the_same() -> None:
    assert says_the_same(CONFD, TEMPLATE)
    assert not says_the_same({**CONFD, "main/000_localmacros": "A = 1\n"}, TEMPLATE)
    assert says_the_same({**CONFD, "main/000_localmacros": "A = 1\n"}, f"A = 1\n{TEMPLATE}")
    assert says_the_same({**CONFD, "main/000_localmacros.dpkg-old": "A = 1\n"}, TEMPLATE)
    assert not says_the_same(CONFD, TEMPLATE.replace("no_more", ""))


def test_where_both_say_the_same_the_configuration_is_split() -> None:
    whole, settings, template = exim.files(UPDATE_EXIM, CONFD, TEMPLATE, "", FRAGMENTS)
    assert whole == FRAGMENTS
    assert exim.is_split(settings)
    assert template == TEMPLATE
    assert stripped(settings) == UPDATE_EXIM


def test_changed_template_gets_the_fragments_where_they_sort() -> None:
    own = TEMPLATE.replace("smtp_connect_backlog", "smtp_connect_backlog") + "# mine\nfinal = 1"
    whole, settings, template = exim.files(UPDATE_EXIM, CONFD, own, "", FRAGMENTS)
    assert whole == {}
    assert settings == UPDATE_EXIM
    assert stripped(template) == own
    # Joined as update-exim4.conf joins the files, the parts are in the same order.
    heads = re.findall(r"^(?:### ([a-z]+/[^\s]+)$|(A = 1)|(onionmx:)|(acl_x:))", template, re.MULTILINE)
    order = list(dict.fromkeys("".join(head) for head in heads))
    names = {
        "A = 1": "main/00_onionmx_sending",
        "onionmx:": "router/190_onionmx",
        "acl_x:": "acl/35_onionmx_check_rcpt",
    }
    order = [names.get(name, name) for name in order]
    assert order == sorted(order, key=lambda name: (SECTIONS.index(name.partition("/")[0]), name))


def test_template_without_the_part_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="has no part '### router/"):
        inserted_fragments("### main/01_x\nA = 1\n", {"router/190_onionmx": "x\n"})


@given(st.lists(st.sampled_from(["### main/01_a", "### router/200_b", "###########################", "x = 1", ""])))
def test_any_template_gets_them_or_is_refused(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        assert stripped(inserted_fragments(text, {"router/190_onionmx": "x", "main/00_y": "y\n"})) == text
    except ConfigurationError:
        assert "### main/01_a" not in lines or "### router/200_b" not in lines


@pytest.mark.parametrize(
    ("there", "host", "port", "then"),
    [
        ("127.0.0.1 ; ::1", "127.0.0.2", 25, "127.0.0.1 ; ::1 ; 127.0.0.2"),
        ("127.0.0.1 ; ::1", "127.0.0.2", 2525, "127.0.0.1 ; ::1 ; 127.0.0.2.2525"),
        ("127.0.0.1 : ::::1", "127.0.0.2", 25, "127.0.0.1 ; ::1 ; 127.0.0.2"),
        ("127.0.0.1", "127.0.0.2", 25, "127.0.0.1 ; 127.0.0.2"),
        ("", "127.0.0.2", 25, ""),
        ("127.0.0.1 ; 127.0.0.2", "127.0.0.2", 25, "127.0.0.1 ; 127.0.0.2"),
        (EVERYWHERE, "127.0.0.2", 25, EVERYWHERE),
    ],
)
def test_exim_listens_where_the_service_leads(there: str, host: str, port: int, then: str) -> None:
    settings = UPDATE_EXIM.replace("'127.0.0.1 ; ::1'", f"'{there}'")
    new = exim.with_interface(settings, host, port)
    assert re.findall(r"^dc_local_interfaces='(.*)'", new, re.MULTILINE) == [then]
    assert stripped(new) == settings


def test_port_of_its_own_needs_a_list() -> None:
    settings = UPDATE_EXIM.replace("'127.0.0.1 ; ::1'", "''")
    with pytest.raises(ConfigurationError, match="does not listen on port 2525"):
        exim.with_interface(settings, "127.0.0.2", 2525)


def test_macros_only_where_the_default_does_not_fit() -> None:
    assert exim.macros({"ONIONMX_SOCKS": "127.0.0.1 port=9050"}) == ""
    assert ".ifndef ONIONMX_SOCKS\nONIONMX_SOCKS = 127.0.0.1 port=9052\n.endif\n" in exim.macros(
        {"ONIONMX_SOCKS": "127.0.0.1 port=9052"}
    )


def test_defaults_are_those_of_the_fragments() -> None:
    texts = "".join(path.read_text() for path in sorted((UNPACKED.parent / "exim").rglob("00_onionmx_*")))
    for name, value in exim.DEFAULTS.items():
        assert f"{name} = {value}\n" in texts


def test_whenever_exim_starts_it_has_what_the_router_names() -> None:
    order = exim.in_order(
        [
            "router/190_onionmx",
            "transport/30_onionmx_relay",
            "main/00_onionmx_receiving",
            "acl/35_onionmx_check_rcpt",
            "main/00_onionmx_sending",
            "retry/20_onionmx",
            "main/000_onionmx_setup",
        ]
    )
    assert order[:2] == ["main/000_onionmx_setup", "main/00_onionmx_sending"]
    assert order[-2:] == ["router/190_onionmx", "main/00_onionmx_receiving"]
