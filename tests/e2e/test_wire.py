"""How what passes between the relay and its peers is read."""

import pytest

from .as_receiver.announced import read_row
from .as_receiver.wire import Session

GREETING = b"\x05\x01\x02"
USER = b"\x01\x04user\x04word"
ONION = b"a.onion"
REQUEST = b"\x05\x01\x00\x03" + bytes([len(ONION)]) + ONION + b"\x00\x19"
METHOD, WELCOME = b"\x05\x02", b"\x01\x00"
CONNECTED = b"\x05\x00\x00\x01" + bytes(6)

COLUMNS = (
    *("program", "PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "SIZE", "DSN", "STARTTLS"),
    *("early pipelining", "messages in a session", "flights"),
)
TABLE = f"""
## What each announces

| {" | ".join(COLUMNS)} |
|---|---|---|---|---|---|---|---|---|---|---|
| A 1.2 to 1.9 | yes | yes | yes | no | no | no | yes | behind EHLO | 10 | 1 |
| A 2.0 and later | yes | no | yes | no | no limit | no | yes | never sent | no limit | 2 |
| B 1.2 | no | no | yes | no | 100 | no | yes | sometimes | no limit | 5 |
| C 1.2 | no | no | yes | no | 100 | no | yes | never sent | no limit | 5 |
| C 1.2 and later | no | no | yes | no | 100 | no | yes | never sent | no limit | 5 |
"""


def session(*said: bytes | str) -> Session:
    """A session in which tor says the bytes, and the relay and its peer what follows `>` and `<`."""
    found = Session()
    for each in said:
        if isinstance(each, bytes):
            found.note(each, is_of_peer=each in (METHOD, WELCOME, CONNECTED, METHOD + WELCOME, WELCOME + CONNECTED))
        else:
            found.note(each[1:].encode(), is_of_peer=each[0] == "<")
    return found


STEP_BY_STEP = (GREETING, METHOD, USER, WELCOME, REQUEST, CONNECTED)
IN_ONE_WRITE = (GREETING + USER + REQUEST, WELCOME + CONNECTED)


@pytest.mark.parametrize("socks", [STEP_BY_STEP, IN_ONE_WRITE], ids=["step by step", "in one write"])
def test_flights_of_an_ordinary_session(socks: tuple[bytes, ...]) -> None:
    mail = "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\n"
    first = f">{mail}BDAT 5 LAST\r\nfirst"
    found = session(*socks, "<220 mx\r\n", ">EHLO x\r\n", "<250 mx\r\n", first, "<250 ok\r\n")
    assert not found.began_before_greeting
    assert not found.began_behind_ehlo
    assert found.flights_of(b"first") == 1
    for line in (">RSET\r\nMAIL FROM:<>\r\n", "<250\r\n250\r\n", ">RCPT TO:<a@b>\r\n", "<250 ok\r\n", ">DATA\r\n"):
        found.note(line[1:].encode(), is_of_peer=line[0] == "<")
    found.note(b"354 go on\r\n", is_of_peer=True)
    found.note(b"second\r\n.\r\n", is_of_peer=False)
    assert found.flights_of(b"second") == 4
    assert found.messages == 2


def test_a_session_that_began_before_the_greeting() -> None:
    early = "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 1 LAST\r\nx"
    found = session(GREETING + USER + REQUEST + early.encode(), WELCOME + CONNECTED, "<220 mx\r\n")
    assert found.began_before_greeting
    assert found.began_behind_ehlo


def test_a_session_that_began_behind_ehlo() -> None:
    found = session(*STEP_BY_STEP, "<220 mx\r\n", ">EHLO x\r\nMAIL FROM:<>\r\n", "<250 mx\r\n")
    assert not found.began_before_greeting
    assert found.began_behind_ehlo


@pytest.mark.parametrize(
    ("version", "size", "messages", "flights"),
    [("1.2", None, 10, 1), ("1.9.4p2", None, 10, 1), ("2.0", 0, None, 2), ("2.10.1", 0, None, 2)],
)
def test_the_row_of_a_version(version: str, size: int | None, messages: int | None, flights: int) -> None:
    row = read_row("A", version, TABLE)
    assert (row.size, row.messages, row.flights) == (size, messages, flights)


@pytest.mark.parametrize(("program", "version"), [("A", "1.1"), ("A", "1.10"), ("B", "1.2"), ("C", "1.2"), ("D", "1")])
def test_no_row_or_an_unclear_one_is_an_error(program: str, version: str) -> None:
    with pytest.raises(LookupError):
        read_row(program, version, TABLE)


@pytest.mark.parametrize("cut", range(len(GREETING + USER + REQUEST)))
def test_session_that_has_not_said_its_whole_request(cut: int) -> None:
    cut_off = Session()
    cut_off.note((GREETING + USER + REQUEST)[:cut], is_of_peer=False)
    assert cut_off.sent == cut_off.received == b""
