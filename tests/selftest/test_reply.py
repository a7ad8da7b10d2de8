"""What is an answer, and what only looks like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.echo.answer import compose, make_report
from onionmx.echo.request import Request, examine
from onionmx.selftest.reply import Answered, Returned, Unreadable, classify
from tests.echo.messages import ECHO, SENDER, TOKEN, request

BACK = b"Received: from receiver.example ([127.0.0.1]) by sender.example with esmtp; Sun, 29 Nov 2026 07:00:05 +0000\n"


def answer() -> bytes:
    asked = examine(request(), SENDER)
    assert isinstance(asked, Request)
    return BACK + compose(asked, make_report(asked, 1764399605.5, "", None), ECHO).as_bytes()


def test_an_answer() -> None:
    found = classify(answer(), TOKEN)
    assert isinstance(found, Answered)
    assert found.report.token == TOKEN
    assert [hop.by for hop in found.back] == ["sender.example"]


def test_other_mail() -> None:
    assert classify(answer(), "b" * 26) is None
    assert classify(request(), TOKEN) is None
    assert classify(b"", TOKEN) is None


def test_half_an_answer_and_a_damaged_one_are_not_taken_for_none() -> None:
    whole = answer()
    kinds = {type(classify(whole[:size], TOKEN)) for size in range(len(whole))}
    assert kinds == {type(None), Unreadable, Answered}
    for damage in (b'"format":1', b'"format":2'), (TOKEN.encode(), b"b" * 26):
        asked = examine(request(), SENDER)
        assert isinstance(asked, Request)
        message = compose(asked, make_report(asked, 1.0, "", None), ECHO)
        [part] = [each for each in message.walk() if each.get_content_type() == "application/json"]
        content = part.get_content().replace(*damage)
        part.set_content(content, "application", "json", filename="onionmx-echo.json")
        assert isinstance(classify(message.as_bytes(), TOKEN), Unreadable)


def test_nested_without_end() -> None:
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level) for level in range(5000))
    found = classify(f"Onionmx-Echo: {TOKEN}\n".encode() + deep, TOKEN)
    assert isinstance(found, Unreadable)


PIECES = st.sampled_from(
    [*answer().split(b"\n\n"), b"\n\n", b"Content-Type: multipart/report\n", TOKEN.encode(), b"--", b"\xff"]
)


@given(st.one_of(st.binary(), st.lists(PIECES).map(b"".join)))
def test_any_message_can_be_read(content: bytes) -> None:
    found = classify(content, TOKEN)
    assert found is None or TOKEN.encode() in content


@pytest.mark.parametrize("status", [b"Diagnostic-Code: smtp; 550 5.1.1 unknown user", b"Status: 5.1.1"])
def test_a_bounce(status: bytes) -> None:
    content = (
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        b"--b\nContent-Type: text/plain\n\nSorry.\n--b\nContent-Type: message/delivery-status\n\n"
        b"Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822;a@b\n"
        + status
        + b"\n--b\nContent-Type: message/rfc822\n\n"
        + request()
        + b"\n--b--\n"
    )
    found = classify(content, TOKEN)
    assert isinstance(found, Returned)
    assert found.reason == status.partition(b": ")[2].decode()


def test_a_report_that_it_is_delayed_is_no_bounce() -> None:
    """An answer may still come."""
    lines = (
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="x"\n\n'
        b"--x\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; sender.example\n\n"
        b"Action: %b\nStatus: %b\n\n--x\nContent-Type: message/rfc822\n\nOnionmx-Selftest: %b\n\n--x--\n"
    )
    assert classify(lines % (b"delayed", b"4.4.1", TOKEN.encode()), TOKEN) is None
    assert classify(lines % (b"Failed", b"5.4.4", TOKEN.encode()), TOKEN) == Returned("5.4.4")
