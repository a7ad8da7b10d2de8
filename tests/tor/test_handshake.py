"""The SOCKS5 handshake without a network."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onionmx.tor.handshake import Connected, Handshake, SocksClosed, SocksRefused, WrongService

HOST, PORT, USER, PASSWORD = "mx.example", 25, "user", "password"
GREETING = b"\x05\x01\x02"
LOGIN = b"\x01\x04user\x08password"
REQUEST = b"\x05\x01\x00\x03\x0amx.example\x00\x19"
TAKES, LETS_IN = b"\x05\x02", b"\x01\x00"
DONE = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
ADDRESSES = {
    "IPv4": DONE,
    "IPv6": b"\x05\x00\x00\x04" + bytes(18),
    "name": b"\x05\x00\x00\x03\x05onion\x00\x19",
    "name without letters": b"\x05\x00\x00\x03\x00\x00\x19",
}
WRONG = {
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is an HTTP server"),
    "SOCKS4": (b"\x00\x5b\x00\x00\x00\x00\x00\x00", "is a SOCKS4 proxy"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "is an SSH server"),
    "SMTP": (b"220 mx.example ESMTP\r\n", "is a mail or FTP server"),
    "control port": (b"514 Authentication required.\r\n", "is tor's control port"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x46", "is a TLS server"),
    "Valkey": (b"-ERR unknown command\r\n", "is a Redis or Valkey server"),
    "no method": (b"\x05\xff", "takes no user and password"),
    "another method": (b"\x05\x00", "takes no user and password"),
    "no login": (TAKES + b"\x01\x01", "refuses user and password"),
    "odd login": (TAKES + b"\x05\x00", "does not speak SOCKS5 (it says b'\\x05\\x00')"),
    "odd reply": (TAKES + LETS_IN + b"\x04\x00", "does not speak SOCKS5"),
    "odd address": (TAKES + LETS_IN + b"\x05\x00\x00\x02\x00", "cannot be read"),
    "noise": (b"hello", "does not speak SOCKS5 (it says b'he')"),
}


def feed(handshake: Handshake, data: bytes, sizes: int) -> bytes:
    """Give it these bytes in pieces; what it sent."""
    sent = handshake.data_to_send()
    for start in range(0, len(data), sizes):
        handshake.receive_data(data[start : start + sizes])
        sent += handshake.data_to_send()
    return sent


def make() -> Handshake:
    return Handshake(HOST, PORT, USER, PASSWORD)


@pytest.mark.parametrize("sizes", [1, 2, 3, 1000])
@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("rest", [b"", b"220 mx.example\r\n"])
def test_connection(address: str, sizes: int, rest: bytes) -> None:
    handshake = make()
    sent = feed(handshake, TAKES + LETS_IN + ADDRESSES[address] + rest, sizes)
    assert handshake.result == Connected()
    assert sent == GREETING + LOGIN + REQUEST
    assert handshake.rest == rest


def test_all_is_said_at_once() -> None:
    handshake = make()
    assert handshake.data_to_send() == GREETING + LOGIN + REQUEST
    handshake.receive_data(TAKES)
    assert not handshake.is_let_in
    handshake.receive_data(LETS_IN)
    assert handshake.is_let_in
    assert handshake.data_to_send() == b""


@pytest.mark.parametrize("sizes", [1, 1000])
@pytest.mark.parametrize("method", [TAKES, b""])
def test_everything_at_once_with_the_answer_that_tor_leaves_out_and_without(method: bytes, sizes: int) -> None:
    handshake = make()
    assert feed(handshake, method + LETS_IN + DONE + b"220", sizes) == GREETING + LOGIN + REQUEST
    assert handshake.result == Connected()
    assert handshake.rest == b"220"


@pytest.mark.parametrize("sizes", [1, 1000])
@pytest.mark.parametrize("number", [1, 2, 0x5B, 0xF0, 0xF6, 0xFF])
@pytest.mark.parametrize("tail", [b"", b"\x00\x01\x00\x00\x00\x00\x00\x00"])
def test_refusal(number: int, tail: bytes, sizes: int) -> None:
    handshake = make()
    feed(handshake, TAKES + LETS_IN + bytes([5, number]) + tail, sizes)
    assert handshake.result == SocksRefused(number)


@pytest.mark.parametrize("sizes", [1, 1000])
@pytest.mark.parametrize("service", WRONG)
def test_wrong_service_is_named(service: str, sizes: int) -> None:
    said, words = WRONG[service]
    handshake = make()
    feed(handshake, said, sizes)
    assert isinstance(handshake.result, WrongService)
    assert words in handshake.result.words


@pytest.mark.parametrize("said", [b"", TAKES, TAKES[:1], TAKES + LETS_IN[:1]])
def test_end_before_user_and_password_were_taken(said: bytes) -> None:
    handshake = make()
    feed(handshake, said, 1000)
    handshake.receive_eof()
    assert isinstance(handshake.result, WrongService)
    assert "closes connections" in handshake.result.words


@pytest.mark.parametrize("said", [b"", b"\x05", DONE[:-1]])
def test_end_without_a_reply(said: bytes) -> None:
    handshake = make()
    feed(handshake, TAKES + LETS_IN + said, 1000)
    handshake.receive_eof()
    assert handshake.result == SocksClosed()


def test_end_after_the_reply_changes_nothing() -> None:
    handshake = make()
    feed(handshake, TAKES + LETS_IN + DONE, 1000)
    handshake.receive_eof()
    assert handshake.result == Connected()


@pytest.mark.parametrize("host", ["", "x" * 256])
def test_host_that_cannot_be_said(host: str) -> None:
    with pytest.raises(ValueError, match="1 to 255"):
        Handshake(host, PORT, USER, PASSWORD)


SAID = st.one_of(
    st.binary(max_size=40),
    st.builds(bytes.__add__, st.sampled_from([TAKES, TAKES + LETS_IN, LETS_IN]), st.binary(max_size=40)),
    st.builds(bytes.__add__, st.sampled_from([TAKES + LETS_IN + one for one in ADDRESSES.values()]), st.binary()),
)


@given(said=SAID, ends=st.booleans())
@example(said=LETS_IN + DONE, ends=False)
@example(said=TAKES + LETS_IN + DONE, ends=False)
def test_whatever_comes_the_pieces_do_not_matter(said: bytes, ends: bool) -> None:  # noqa: FBT001
    """Byte by byte, whole, or as many bytes as are wanted: the same end, and nothing is lost or read too far."""
    whole, single, wanted = make(), make(), make()
    assert feed(whole, said, len(said) or 1) == feed(single, said, 1)
    left = said
    while wanted.result is None and left:
        assert wanted.wanted > 0
        taken, left = left[: wanted.wanted], left[wanted.wanted :]
        wanted.receive_data(taken)
    assert wanted.rest == b"" or isinstance(wanted.result, WrongService)
    if isinstance(whole.result, Connected):
        assert whole.rest == single.rest == left
    for handshake in (whole, single, wanted):
        if ends:
            handshake.receive_eof()
    assert whole.result == single.result == wanted.result
