"""Who gets an answer, and who never does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.echo.message import MAX_MESSAGE
from onionmx.echo.request import MAX_HOPS, Refused, Request, examine
from tests.echo.messages import SENDER, TOKEN, request


def test_a_selftest() -> None:
    found = examine(request(), SENDER)
    assert isinstance(found, Request)
    assert (found.token, found.sender, found.domain) == (TOKEN, SENDER, "sender.example")
    assert [hop.by for hop in found.hops] == ["sender.example", "receiver.example"]
    assert found.message_id == "<1@sender.example>"
    assert found.results[0].results[0].result == "pass"
    assert found.circuit is None


def test_the_envelope_sender_may_be_in_return_path() -> None:
    found = examine(request(f"Return-Path: <{SENDER}>"), None)
    assert isinstance(found, Request)
    assert found.sender == SENDER
    assert isinstance(examine(request("Auto-Submitted: no (a person)"), SENDER), Request)


def test_a_from_line_of_a_mailbox_is_no_obstacle() -> None:
    assert isinstance(examine(b"From alice@sender.example  Sun Nov 29 07:00:00 2026\n" + request(), SENDER), Request)


def test_the_circuit_is_that_of_the_last_host() -> None:
    by = "by receiver.example with esmtp; Sun, 29 Nov 2026 07:00:03 +0000"
    forged, real = (f"Received: from x ([fc00:dead:beef:4dad::{number}]) {by}" for number in (1, 2))
    found = examine(request(real, forged), SENDER)
    assert isinstance(found, Request)
    assert found.circuit == 2


NEVER = {
    "the null sender": (request(sender="<>"), ""),
    "the null sender in Return-Path": (request("Return-Path: <>"), None),
    "no sender known": (request(), None),
    "two Return-Path": (request(f"Return-Path: <{SENDER}>", "Return-Path: <victim@third.example>"), None),
    "Return-Path of another": (request("Return-Path: <victim@third.example>"), SENDER),
    "From of another": (request(sender="mallory@evil.example"), SENDER),
    "two From": (request("From: victim@third.example"), SENDER),
    "two addresses in From": (
        request(without="From").replace(b"To:", f"From: {SENDER}, b@c.example\r\nTo:".encode(), 1),
        SENDER,
    ),
    "no From": (request(without="From"), SENDER),
    "Reply-To of another": (request("Reply-To: victim@third.example"), SENDER),
    "sent automatically": (request("Auto-Submitted: auto-replied"), SENDER),
    "sent automatically, in other letters": (request("AUTO-SUBMITTED: Auto-Generated; x=y"), SENDER),
    "an empty Auto-Submitted": (request("Auto-Submitted:"), SENDER),
    "bulk mail": (request("Precedence: bulk"), SENDER),
    "a mailing list": (request("List-Id: <list.example>"), SENDER),
    "an answer of an echo": (request(f"Onionmx-Echo: {TOKEN}"), SENDER),
    "an answer of an echo, empty": (request("Onionmx-Echo:"), SENDER),
    "no self-test": (request(without="Onionmx-Selftest"), SENDER),
    "a token that is none": (request("Onionmx-Selftest: hello world", without="Onionmx-Selftest"), SENDER),
    "two tokens": (request(f"Onionmx-Selftest: {TOKEN}"), SENDER),
    "a loop": (request(*["Received: by a.example"] * MAX_HOPS), SENDER),
    "too large": (request() + b"x" * MAX_MESSAGE, SENDER),
    "no message at all": (b"", SENDER),
} | {
    sender: (request(sender=sender), sender)
    for sender in (
        "MAILER-DAEMON@sender.example",
        "owner-list@list.example",
        "list-request@list.example",
        "list-bounces@list.example",
        "alice",
        "@sender.example",
        "alice@",
        "alice@[127.0.0.1]",
        "victim%third.example@receiver.example",
        "third.example!victim@receiver.example",
        '"a b"@sender.example',
        "-oQ/tmp@sender.example\n",
        "alïce@sender.example",
        "alice@sender.example\r\nBcc: victim@third.example",
        f"{'a' * 65}@sender.example",
        f"alice@{'a.' * 126}example",
    )
}


@pytest.mark.parametrize("what", NEVER)
def test_no_answer(what: str) -> None:
    content, sender = NEVER[what]
    refused = examine(content, sender)
    assert isinstance(refused, Refused)
    assert refused.reason.isprintable()
    assert "third.example" not in refused.reason


LINES = st.sampled_from(
    [*request().decode().split("\r\n"), "List-Id: x", "Return-Path: <>", "Received: ", " folded", "\0", ":"]
)


@given(
    st.one_of(st.binary(), st.lists(LINES).map(lambda lines: "\r\n".join(lines).encode())),
    st.none() | st.just(SENDER) | st.text(),
)
def test_whatever_comes_an_answer_goes_to_the_envelope_sender_alone(content: bytes, sender: str | None) -> None:
    found = examine(content, sender)
    if isinstance(found, Request):
        assert sender is None or found.sender == sender
        assert found.sender == SENDER
