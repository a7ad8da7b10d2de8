"""What goes onto the wire, and what must not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.smtp.envelope import Envelope, Recipient, clean_envid, clean_orcpt
from onionmx.smtp.extensions import Extensions
from onionmx.smtp.faults import EnvelopeError

NOTHING = Extensions()
EVERYTHING = Extensions("mx", True, True, 1000, True, True, True, True, True)  # noqa: FBT003 -- all of them

MAILBOXES = [
    "a@b.example",
    "a.b+c=d/e!f{g}|h~i'j`k^l?m*n&o%p$q#r-s_t@b.example",
    "..odd..@b.example",
    "a@b",
    "a@_b.example",
    "a@[192.0.2.1]",
    "a@[IPv6:2001:db8::1]",
    '"a b"@b.example',
    '"a\\"b\\\\c"@b.example',
    '"<a@b>"@b.example',
    '""@b.example',
    "a" * 80 + "@b.example",
    "grüße@b.example",
    "a@bücher.example",
    "用户@例子.广告",
    "andr\udce9@b.example",
    "a\\b@b.example",
    "a" * 990 + "@b.example",
]

NO_MAILBOXES = [
    "a",
    "a@",
    "@b.example",
    "a b@b.example",
    "a@b example",
    "a@b.example ",
    " a@b.example",
    "a@b.example\r\nRSET",
    "a@b.example\n",
    "a\r@b.example",
    "a\0@b.example",
    "a\x7f@b.example",
    "a\x85@b.example",
    "a\xa0b@b.example",
    "<a@b.example>",
    "a@b.example> SIZE=1",
    "a>@b.example",
    '"a@b.example',
    '"a"b@b.example',
    'a"b@b.example',
    '"a\nb"@b.example',
    "a\\@b@c.example",
    "a@b@c.example",
    "@x,@y:a@b.example",
    "a@[192.0.2.1",
    "a@[<>]",
    "a@b.example\udcff",
    "a\ud800@b.example",
    "a" * 991 + "@b.example",
    "ü" * 496 + "@b.example",
]


@pytest.mark.parametrize("address", MAILBOXES)
def test_mailbox(address: str) -> None:
    assert Recipient(address).command(NOTHING) == f"RCPT TO:<{address}>\r\n".encode("utf-8", "surrogateescape")
    assert Envelope(address).command(NOTHING) == f"MAIL FROM:<{address}>\r\n".encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("address", NO_MAILBOXES)
def test_no_mailbox(address: str) -> None:
    with pytest.raises(EnvelopeError):
        Recipient(address)
    with pytest.raises(EnvelopeError):
        Envelope(address)


def test_special_addresses() -> None:
    assert Envelope("").command(NOTHING) == b"MAIL FROM:<>\r\n"
    assert Recipient("Postmaster").command(NOTHING) == b"RCPT TO:<Postmaster>\r\n"
    with pytest.raises(EnvelopeError):
        Recipient("")
    with pytest.raises(EnvelopeError):
        Envelope("postmaster")


@given(st.text(), st.text(), st.text())
def test_a_command_is_one_line_with_its_arguments(address: str, notify: str, orcpt: str) -> None:
    """Whatever is given: no other command, no second path, no parameter but those meant."""
    try:
        line = Recipient(address, notify, orcpt).command(EVERYTHING)
    except EnvelopeError:
        return
    assert line.endswith(b"\r\n")
    assert line.count(b"\n") == line.count(b"\r") == 1
    assert line.startswith(b"RCPT TO:<")


FULL = Envelope("a@a.example", (), "8BITMIME", True, "HDRS", "id+2B1", 77)  # noqa: FBT003 -- all of them


def test_parameters_only_where_offered() -> None:
    assert FULL.command(NOTHING) == b"MAIL FROM:<a@a.example>\r\n"
    assert FULL.command(EVERYTHING) == (
        b"MAIL FROM:<a@a.example> SIZE=77 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+2B1\r\n"
    )
    assert FULL.command(Extensions(size=0)) == b"MAIL FROM:<a@a.example> SIZE=77\r\n"
    assert Envelope("a@a.example").command(EVERYTHING) == b"MAIL FROM:<a@a.example>\r\n"


def test_dsn_parameters_of_a_recipient() -> None:
    recipient = Recipient("b@b.example", "SUCCESS,DELAY", "rfc822;b+2Bc@b.example")
    assert recipient.command(NOTHING) == b"RCPT TO:<b@b.example>\r\n"
    assert recipient.command(EVERYTHING) == (
        b"RCPT TO:<b@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bc@b.example\r\n"
    )


def test_raw_utf8_in_orcpt_needs_smtputf8() -> None:
    recipient = Recipient("b@b.example", orcpt="utf-8;ü@b.example")
    assert recipient.command(EVERYTHING) == "RCPT TO:<b@b.example> ORCPT=utf-8;ü@b.example\r\n".encode()
    assert recipient.command(Extensions(dsn=True)) == b"RCPT TO:<b@b.example>\r\n"


@pytest.mark.parametrize("notify", ["SOMETIMES", "NEVER,SUCCESS", "SUCCESS,", "SUCCESS DELAY", "SUCCESS\r\nRSET"])
def test_bad_notify(notify: str) -> None:
    with pytest.raises(EnvelopeError):
        Recipient("b@b.example", notify)


@pytest.mark.parametrize(
    "orcpt", ["b@b.example", "rfc822;", "rfc822;a b", "rfc822;a=b", "rfc822;a+2b", "rfc822;ü", "rfc822;" + "x" * 500]
)
def test_bad_orcpt(orcpt: str) -> None:
    with pytest.raises(EnvelopeError):
        Recipient("b@b.example", orcpt=orcpt)


@pytest.mark.parametrize("envid", ["a b", "a=b", "a+", "a+2b", "ü", "a\r\n", "x" * 301])
def test_bad_envid(envid: str) -> None:
    with pytest.raises(EnvelopeError):
        Envelope("", envid=envid)


@given(value=st.one_of(st.text(), st.text("+=aF0;@ü\udce9 ", max_size=200)), smtputf8=st.booleans())
def test_cleaned_parameters_can_be_sent(value: str, *, smtputf8: bool) -> None:
    """Whatever was written, and what is right already stays."""
    envid, orcpt = clean_envid(value), clean_orcpt(value, smtputf8=smtputf8)
    Envelope("", envid=envid)
    Recipient("b@b.example", orcpt=orcpt)
    assert smtputf8 or orcpt.isascii()
    assert clean_envid(envid) == envid
    assert clean_orcpt(orcpt, smtputf8=smtputf8) == orcpt


@pytest.mark.parametrize("size", [-1, 10**20])
def test_bad_size(size: int) -> None:
    with pytest.raises(EnvelopeError):
        Envelope("", size=size)


def test_bad_body_and_ret() -> None:
    with pytest.raises(EnvelopeError):
        Envelope("", body="BINARYMIME")  # type: ignore[arg-type]
    with pytest.raises(EnvelopeError):
        Envelope("", ret="ALL")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("envelope", "extensions", "reply"),
    [
        (FULL, EVERYTHING, None),
        (Envelope("", body="8BITMIME"), NOTHING, None),
        (Envelope("", smtputf8=True), NOTHING, "553 5.6.7"),
        (Envelope("ü@a.example"), NOTHING, None),
        (Envelope("", (Recipient("ü@a.example"),)), NOTHING, None),
        (Envelope("", size=1000), EVERYTHING, None),
        (Envelope("", size=1001), EVERYTHING, "552 5.3.4"),
        (Envelope("", size=10**9), Extensions(size=0), None),
        (Envelope("", size=10**9), NOTHING, None),
        (Envelope(""), EVERYTHING, None),
    ],
)
def test_what_the_peer_lacks(envelope: Envelope, extensions: Extensions, reply: str | None) -> None:
    refusal = envelope.refusal(extensions)
    assert (refusal is None) == (reply is None)
    if refusal and reply:
        assert str(refusal).startswith(reply)


def test_eight_bit_content_needs_8bitmime() -> None:
    declared = Envelope("", body="8BITMIME")
    assert declared.refusal_of("ü".encode(), EVERYTHING) is None
    assert declared.refusal_of(b"ascii", NOTHING) is None
    assert str(declared.refusal_of("ü".encode(), NOTHING)).startswith("554 5.6.3")


@pytest.mark.parametrize(("limit", "is_refused"), [(7, True), (8, False), (0, False), (None, False)])
def test_content_that_is_larger_than_the_peer_takes(limit: int | None, is_refused: bool) -> None:  # noqa: FBT001
    refusal = Envelope("").refusal_of(b"hello", Extensions(size=limit), before=3)
    assert str(refusal).startswith("552 5.3.4" if is_refused else "None")


def test_only_what_is_too_large_by_any_count_is_refused() -> None:
    assert Envelope("").refusal_of(b"a\r\n", Extensions(size=8), before=6) is None
    assert Envelope("").refusal_of(b"ab\r\n", Extensions(size=8), before=6) is not None
    assert Envelope("").refusal_of("ü".encode(), NOTHING) is None, "it was not declared, and is the sender's fault"
