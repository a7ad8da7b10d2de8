"""Postfix's policy protocol: whole, in pieces, overlong, with bytes that do not belong there."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.guard.limits import Event
from onionmx.guard.policy import MAX_LINE, MAX_REQUEST, PolicyParser, PolicyRequest, write_action
from onionmx.serve.protocols.codec import ProtocolFault
from tests.guard.daemon import CIRCUIT, request

POSTFIX = f"""\
request=smtpd_access_policy
protocol_state=RCPT
protocol_name=ESMTP
client_address={CIRCUIT}
client_name=unknown
sender=carol@elsewhere.example
recipient=alice@receiver.example
recipient_count=0
queue_id=
instance=123.456.7
size=0
policy_context=

""".encode()
"""What Postfix 3.10 sends, in part."""


def read(*pieces: bytes) -> list[PolicyRequest | ProtocolFault]:
    parser = PolicyParser()
    found: list[PolicyRequest | ProtocolFault] = []
    for piece in pieces:
        parser.feed(piece)
        while (item := parser.next_request()) is not None:
            found.append(item)
            if isinstance(item, ProtocolFault) and item.is_fatal:
                return found
    return found


def test_what_postfix_sends() -> None:
    assert read(POSTFIX) == [PolicyRequest(CIRCUIT, Event.RECIPIENT)]


@pytest.mark.parametrize(
    ("state", "more", "event", "size"),
    [
        ("CONNECT", {}, Event.CONNECTION, 1),
        ("CONNECT", {"size": "99"}, Event.CONNECTION, 1),
        ("RCPT", {}, Event.RECIPIENT, 1),
        ("RCPT", {"policy_context": "accepted"}, Event.ACCEPTED, 1),
        ("RCPT", {"policy_context": "of another"}, Event.RECIPIENT, 1),
        ("END-OF-MESSAGE", {"size": "12345"}, Event.MESSAGE, 12345),
        ("END-OF-MESSAGE", {"size": "9" * 400}, Event.MESSAGE, 0),
        ("END-OF-MESSAGE", {"size": "-1"}, Event.MESSAGE, 0),
        ("END-OF-MESSAGE", {"size": "٣"}, Event.MESSAGE, 0),
        ("END-OF-MESSAGE", {}, Event.MESSAGE, 0),
        ("NOTQUIT", {"policy_context": "error"}, Event.ERROR, 1),
        ("MAIL", {}, None, 1),
        ("", {}, None, 1),
    ],
)
def test_events(state: str, more: dict[str, str], event: Event | None, size: float) -> None:
    assert read(request(state, **more)) == [PolicyRequest(CIRCUIT, event, size)]


@given(
    st.lists(st.sampled_from([POSTFIX, request("CONNECT", "192.0.2.1"), b"nonsense\n\n", b"\n"]), max_size=6), st.data()
)
def test_pieces_make_no_difference(requests: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    whole = read(stream)
    assert len(whole) == len(requests)
    assert read(*(stream[first:last] for first, last in pairwise([0, *cuts, len(stream)]))) == whole


@pytest.mark.parametrize(
    "lines",
    [
        b"no equals sign\n",
        b"=no name\n",
        b"request=smtpd_access_policy\nsender=a\0b\n",
        b"\0=x\n",
        b"request=something_else\n",
        b"",
    ],
)
def test_what_is_no_request_is_a_fault_and_the_next_is_read(lines: bytes) -> None:
    fault, then = read(lines + b"\n" + POSTFIX)
    assert isinstance(fault, ProtocolFault)
    assert not fault.is_fatal
    assert then == PolicyRequest(CIRCUIT, Event.RECIPIENT)


def test_first_of_two_values_counts() -> None:
    twice = POSTFIX[:-1] + b"client_address=192.0.2.1\n\n"
    assert read(twice) == [PolicyRequest(CIRCUIT, Event.RECIPIENT)]


@pytest.mark.parametrize("piece", [b"x" * (MAX_LINE + 1), b"a=" + b"x" * MAX_LINE + b"\n"])
def test_overlong_line_is_fatal(piece: bytes) -> None:
    [fault] = read(piece)
    assert isinstance(fault, ProtocolFault)
    assert fault.is_fatal


def test_request_without_end_is_fatal() -> None:
    found = read(*[b"a=b\n"] * (MAX_REQUEST // 4 + 1))
    assert [isinstance(item, ProtocolFault) and item.is_fatal for item in found] == [True]


def test_part_of_a_request_is_none() -> None:
    assert read(POSTFIX[:-1]) == []


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_bytes_are_read(pieces: list[bytes]) -> None:
    for item in read(*pieces):
        assert isinstance(item, PolicyRequest | ProtocolFault)


def test_answer() -> None:
    assert write_action("DUNNO") == b"action=DUNNO\n\n"
