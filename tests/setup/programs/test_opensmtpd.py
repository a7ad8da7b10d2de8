"""smtpd.conf with the lines for onion MXes."""

import re
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import ConfigurationError
from onionmx.setup.programs import opensmtpd
from onionmx.setup.programs.blocks import BEGIN, END, stripped
from onionmx.setup.programs.smtpd_conf import listener, statements, takes
from tests.acceptance.documents import section
from tests.e2e.postfix import documented
from tests.e2e.programs import PROJECT
from tests.setup.sandbox import SMTPD_CONF

SERVER = """\
pki mx cert "/etc/ssl/mx.pem"   # a comment
table clients { "192.0.2.0/24", \\
    "198.51.100.7" }
table list {
    "a.example",
    "b.example"
}
listen on eth0 tls pki mx
listen on eth0 port submission tls-require pki mx auth
listen on eth0 smtps pki mx auth
listen on socket
action "local" maildir
action 'out' relay helo mx.example.org
match from any for domain { "example.org", "example.com" } action "local"
match from src <list> for any reject
match auth from any for any action out
match from src <clients> ! mail-from "news@example.org" \\
    for any action "out"
match from local for domain "partner.example" action "out"
match for any from local action "out"
"""
EVERYWHERE = str(IPv4Address(0))
SENDING = {"relay": "127.0.0.1:10025", "path": opensmtpd.LIST}
RECEIVING = {"domains": ["example.org"], "listen": "127.0.0.2:25"}


def _added(before: str, after: str) -> list[str]:
    assert stripped(after) == before
    lines = after.splitlines()
    for line in before.splitlines():
        lines.remove(line)
    return [line for line in lines if line not in (BEGIN, END)]


def test_file_of_debian() -> None:
    new = opensmtpd.with_rules(SMTPD_CONF, **SENDING, **RECEIVING)  # type: ignore[arg-type]
    assert _added(SMTPD_CONF, new) == [
        "listen on 127.0.0.2 tag onion-mx",
        'match tag onion-mx from src { "0.0.0.0/0", "::/0" } ! for domain { "example.org" } reject',
        "table onions file:/var/lib/onionmx/opensmtpd",
        'action onionmx relay host "smtp+notls://127.0.0.1:10025"',
        'match from local for domain regex "(^|[.])onion$" action onionmx',
        "match from local for domain <onions> action onionmx",
    ]
    rules = [line for line in new.splitlines() if line.startswith("match")]
    assert rules.index('match from local for any action "relay"') == len(rules) - 1
    assert rules[0].startswith("match tag onion-mx ")


def test_lines_are_those_of_the_document() -> None:
    page = (PROJECT / "docs/other-mtas.md").read_text()
    sending = documented(section(page, "OpenSMTPD", "Send"), {})["/etc/onionmx/smtpd.conf"]
    receiving = documented(section(page, "OpenSMTPD", "Receive"), {})["/etc/onionmx/smtpd-receiving.conf"]
    new = opensmtpd.with_rules(SMTPD_CONF, **SENDING, **RECEIVING)  # type: ignore[arg-type]
    assert _added(SMTPD_CONF, new) == [line for line in (receiving + sending).splitlines() if line]


def test_who_may_not_send_may_not_send_over_tor() -> None:
    new = opensmtpd.with_rules(SERVER, **SENDING)
    rules = [rule.words for rule in statements(new, "") if rule.words[0] == "match"]
    ours = [number for number, words in enumerate(rules) if words[-1] == "onionmx"]
    theirs = [
        number for number, words in enumerate(rules) if "any" in words[words.index("for") :] and "reject" not in words
    ]
    assert len(theirs) == 3
    assert ours == [number - before for number in theirs for before in (2, 1)]
    for number in theirs:
        for words in rules[number - 2 : number]:
            conditions = [word for word in words if word not in rules[number]]
            assert conditions[0] == "domain"
            assert "onionmx" in conditions[-1]
            assert [word for word in rules[number][:-1] if word not in words] in ([], ["any"])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('include "/etc/smtpd/rules"', 'line 2: setup does not know what include "/etc/smtpd/rules" brings'),
        ("$rules", "line 2: setup does not know what $rules brings"),
        ('match from local ! for local action "relay"', "line 2: setup cannot tell for which domains this rule is"),
        ('match from local for $where action "relay"', "line 2: setup cannot tell for which domains this rule is"),
        ("table onions file:/etc/onions", "line 2: table onions is there already"),
        ('action "onionmx" relay', "line 2: action onionmx is there already"),
        ('match from local for any action "relay', "line 3: a quote without its end"),
    ],
)
def test_what_is_in_the_way_of_sending_is_named(line: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"/etc/smtpd.conf, {why}")):
        opensmtpd.with_rules(f'action "relay" relay\n{line}\nmatch from local for any action "relay"\n', **SENDING)


def test_what_stays_on_this_host_may_come_from_anybody() -> None:
    """Rules of ours with the conditions of a trap for all mail would make an open relay."""
    trap = 'action "trap" maildir "/var/trap"\nmatch from any for any action "trap"\n'
    with pytest.raises(ConfigurationError, match="setup does not know who may send"):
        opensmtpd.with_rules(trap, **SENDING)
    new = opensmtpd.with_rules(SMTPD_CONF + trap, **SENDING)
    assert new.endswith(trap)
    assert "\nmatch from any for domain" not in new


def test_nobody_may_send() -> None:
    with pytest.raises(ConfigurationError, match="setup does not know who may send"):
        opensmtpd.with_rules('match for local action "local"\nmatch from any for any reject\n', **SENDING)


def test_port_that_a_listener_has() -> None:
    everywhere = "listen on 0.0.0.0\nlisten on ::\n"
    with pytest.raises(ConfigurationError, match=r"takes 127\.0\.0\.2:25 too"):
        opensmtpd.with_rules(everywhere, **RECEIVING)  # type: ignore[arg-type]
    assert opensmtpd.forward(everywhere, "127.0.0.2", 25) == ("127.0.0.2", 26)
    assert opensmtpd.forward("listen on ::\nlisten on 0.0.0.0 port 587\n", "127.0.0.2", 25) == ("127.0.0.2", 25)
    by_hand = "listen on 127.0.0.2 tag tor\n"
    assert opensmtpd.with_rules(by_hand, **RECEIVING) == by_hand  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("listen on lo", ("lo", 25)),
        ("listen on 0.0.0.0 tls pki x", (EVERYWHERE, 25)),
        ("listen on 0.0.0.0 smtps pki x", (EVERYWHERE, 465)),
        ("listen on 0.0.0.0 port smtp", (EVERYWHERE, 25)),
        ('listen on "::" port 2525 tag x', ("::", 2525)),
        ("listen on lo port $port", ("lo", 0)),
        ("listen on lo port", ("lo", 0)),
        ("listen on socket", None),
        ("listen on", None),
        ("match for any reject", None),
    ],
)
def test_listeners(line: str, found: tuple[str, int] | None) -> None:
    (statement,) = statements(line, "")
    assert listener(statement) == found
    assert takes([statement], 25) == (found == (EVERYWHERE, 25))


def test_statements_that_go_on() -> None:
    found = statements(SERVER, "")
    assert [statement.first for statement in found if statement.words[0] == "table"] == [1, 3]
    assert found[-2].words == ("match", "from", "local", "for", "domain", '"partner.example"', "action", '"out"')
    assert found[-3].words[-5:] == ('"news@example.org"', "for", "any", "action", '"out"')
    assert statements("a # b \\\n c\nd 'x # y'", "") == statements("a\n\nd 'x # y'\n", "")


_LINES = st.lists(
    st.sampled_from([*SERVER.splitlines(), *SMTPD_CONF.splitlines(), "}", "{", '"', "\\", "match", "for"])
)


@given(_LINES.map("\n".join) | st.text(alphabet="match for any action\"\\\n{}<>!,=#' $"))
def test_any_text_is_taken_back_or_refused(text: str) -> None:
    try:
        new = opensmtpd.with_rules(text, **SENDING, **RECEIVING)  # type: ignore[arg-type]
    except ConfigurationError as error:
        assert str(error).isprintable()
        return
    assert stripped(new) == text
    assert opensmtpd.with_rules(stripped(new), **SENDING, **RECEIVING) == new  # type: ignore[arg-type]
