"""OpenSMTPD's part: a table, an action, a listener and match rules in smtpd.conf; texts only.

It takes the first rule that matches. So each rule that sends to anywhere gets two of ours in front, with its own
conditions, for domains with an onion MX and for all under .onion: who may not send may not send over Tor either.
"""

from collections.abc import Collection, Iterable, Sequence

from onionmx.config import parse_socket
from onionmx.errors import ConfigurationError
from onionmx.onion import DEFAULT_PORT
from onionmx.setup.programs.blocks import inserted, split
from onionmx.setup.programs.smtpd_conf import Statement, listener, statements, takes

CONF = "/etc/smtpd.conf"
PROGRAM = "/usr/sbin/smtpctl"
UNIT = "opensmtpd.service"
LIST = "/var/lib/onionmx/opensmtpd"
UNDER_ONION = "*.onion"
"""A line of the list, with which it is never empty: smtpd does not start with an empty one."""
TABLE = "onions"
ACTION = "onionmx"
TAG = "onion-mx"
UPDATE = (PROGRAM, "update", "table", TABLE)
"""Has a running smtpd read the list again; where it cannot be read, the one from before stays."""
GROUP = "opensmtpq"
"""Which that program insists on. It is setgid, and a unit with NoNewPrivileges= does not honour that."""
SPARE_PORT = 26
"""Of the onion service's listener, where another one takes port 25 of all addresses. Below 1024: root's alone."""

# In a pattern * matches one label: subdomains of an onion would be looked up in DNS.
_ALL_UNDER_ONION = 'regex "(^|[.])onion$"'
_DEFINITIONS = """\
table {table} file:{path}
action {action} relay host "smtp+notls://{relay}"
"""
# What an alias or a .forward leads to is matched again, as from no address: `from any` would refuse it too.
_LISTENER = """\
listen on {host}{port} tag {tag}
match tag {tag} from src {{ "0.0.0.0/0", "::/0" }} ! for domain {{ {domains} }} reject
"""


def with_rules(text: str, *, relay: str = "", path: str = "", domains: Iterable[str] = (), listen: str = "") -> str:
    """smtpd.conf with what sends over Tor, with what receives, or both.

    By SMTP: of LMTP's replies, one a recipient, smtpd reads the first one only.

    Args:
        text: without our blocks.
        relay: IP:PORT where the relay takes SMTP; empty not to send.
        path: of the list of domains that have an onion MX, one a line.
        domains: of this host, which are all that the clients of the onion service may address.
        listen: IP:PORT that the onion service leads to; empty not to receive.

    Raises:
        ConfigurationError: there is no place for the rules, or something is there already that is in their way.
    """
    found = _statements(text)
    rules = _sending(found) if relay else {}
    first = next((statement.first for statement in found if statement.words[0] == "match"), len(split(text)))
    start = _receiving(found, domains, listen) if listen else ""
    if relay:
        start += _DEFINITIONS.format(table=TABLE, path=path, action=ACTION, relay=relay)
    if start:
        rules[first] = start + rules.get(first, "")
    for line in sorted(rules, reverse=True):
        text = inserted(text, line, rules[line])
    return text


def _sending(found: Sequence[Statement]) -> dict[int, str]:
    """Rules, by the line that they stand before."""
    for statement in found:
        if (statement.words[0], statement.unquoted(1)) in (("table", TABLE), ("action", ACTION)):
            raise ConfigurationError(
                f"{CONF}, line {statement.first + 1}: {statement.words[0]} {statement.unquoted(1)} is there already: "
                "remove it and its rules for setup to write them, or set up sending by hand"
            )
    relaying = {each.unquoted(1) for each in found if each.words[0] == "action" and each.unquoted(2) == "relay"}
    rules = {statement.first: _rules(statement) for statement in found if _goes_anywhere(statement, relaying)}
    if not rules:
        raise ConfigurationError(
            f'{CONF} has no rule such as `match from local for any action "relay"`: setup does not know who may send'
        )
    return rules


def _receiving(found: Sequence[Statement], domains: Iterable[str], listen: str) -> str:
    """The listener and its rule; empty where somebody has a listener there, and the doctor tries what it does."""
    host, port = parse_socket(listen)
    if (host, port) in map(listener, found):
        return ""
    if ":" not in host and takes(found, port):
        raise ConfigurationError(
            f"{CONF}: listen on 0.0.0.0 takes {listen} too: name addresses there, or set onion.forward to "
            f"{host}:{SPARE_PORT}"
        )
    quoted = ", ".join(f'"{domain}"' for domain in domains)
    return _LISTENER.format(host=host, port="" if port == DEFAULT_PORT else f" port {port}", tag=TAG, domains=quoted)


def forward(text: str, host: str, port: int) -> tuple[str, int]:
    """Where the onion service can lead to: to another port where that one is taken.

    Args:
        text: of smtpd.conf, without our blocks.
    """
    return (host, SPARE_PORT) if takes(statements(text, CONF), port) and ":" not in host else (host, port)


def _statements(text: str) -> list[Statement]:
    found = statements(text, CONF)
    for statement in found:
        if statement.words[0] == "include" or statement.words[0].startswith("$"):
            raise ConfigurationError(
                f"{CONF}, line {statement.first + 1}: setup does not know what {' '.join(statement.words[:2])} brings: "
                "write it out here, or set up OpenSMTPD by hand (docs/other-mtas.md)"
            )
    return found


def _goes_anywhere(statement: Statement, relaying: Collection[str]) -> bool:
    """Whether a rule sends mail for any domain to other hosts. One that keeps all mail here may be for anybody.

    Args:
        relaying: names of the actions that send.
    """
    words = statement.words
    if words[0] != "match" or "for" not in words or "action" not in words:
        return False
    if statement.unquoted(words.index("action") + 1) not in relaying:
        return False
    place = words.index("for")
    to = words[place + 1]
    if words[place - 1] == "!" or to.startswith("$"):
        raise ConfigurationError(
            f"{CONF}, line {statement.first + 1}: setup cannot tell for which domains this rule is: write it with "
            "`for any`, or set up OpenSMTPD by hand (docs/other-mtas.md)"
        )
    return to == "any"


def _rules(statement: Statement) -> str:
    """Our two in front of it."""
    place = statement.words.index("for")
    end = statement.words.index("action")
    before, after = statement.words[:place], (*statement.words[place + 2 : end], "action", ACTION)
    return "".join(
        f"{' '.join((*before, 'for', 'domain', which, *after))}\n" for which in (_ALL_UNDER_ONION, f"<{TABLE}>")
    )
