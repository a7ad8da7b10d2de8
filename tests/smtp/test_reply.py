from hypothesis import given
from hypothesis import strategies as st

from onionmx.smtp.reply import OurReply, Reply


def test_reply_on_the_wire() -> None:
    assert Reply(250, "2.0.0", ("one", "two")).to_bytes() == b"250-2.0.0 one\r\n250 2.0.0 two\r\n"
    assert Reply(354).to_bytes() == b"354 \r\n"
    assert str(Reply(451, "4.4.1", ("a", "", "b"))) == "451 4.4.1 a b"


def test_reply_of_a_peer_keeps_its_codes() -> None:
    reply = Reply(550, "5.1.1", ("no such user", "bye")).passed_through()
    assert reply.to_bytes() == b"550-5.1.1 onion-mx said: no such user\r\n550 5.1.1 bye\r\n"


@given(st.text())
def test_cause_cannot_end_the_line(text: str) -> None:
    wire = OurReply.UNREACHABLE.value.with_text(text).to_bytes()
    assert wire.count(b"\r\n") == 1
    assert wire.endswith(b"\r\n")
    assert not any(byte < 32 for byte in wire[:-2])


@given(st.integers(200, 599), st.lists(st.text(max_size=600), min_size=1, max_size=3).map(tuple))
def test_ascii_for_clients_without_smtputf8(code: int, lines: tuple[str, ...]) -> None:
    reply = Reply(code, "", lines).in_ascii()
    assert all(map(str.isascii, reply.lines))
    if all(map(str.isascii, lines)):
        assert reply.lines == lines
    else:
        assert "".join(reply.lines).encode() == "".join(lines).encode("ascii", "backslashreplace")
        assert max(map(len, reply.lines)) <= 400


def test_codes_and_enhanced_codes_agree() -> None:
    for own in OurReply:
        assert own.value.enhanced.startswith(str(own.value.code)[0] + ".")
        assert sum([own.value.is_positive, own.value.is_transient, own.value.is_permanent]) == 1
