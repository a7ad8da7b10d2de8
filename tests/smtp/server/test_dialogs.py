"""Each dialog in three ways: command by command, all in one packet, byte by byte. The replies are the same."""

from collections.abc import Callable

import pytest

from onionmx.smtp.reply import OurReply, Reply
from onionmx.smtp.server import ServerSettings
from tests.smtp.server.dialog import WAYS, play
from tests.smtp.server.recorder import Recorder

pytestmark = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
Way = Callable[..., object]

OPEN = """
    > MAIL FROM:<a@example.org>
    < 250 2.1.0 OK
    > RCPT TO:<b@example.net>
    < 250 2.1.5 OK
"""


def test_data(way: Way) -> None:
    recorder = play(
        OPEN
        + r"""
    > DATA
    < 354 end with CRLF . CRLF
    > Subject: dots
    >
    > ..
    > ..leading
    > . is not a lone dot
    > the end.
    > .
    < 250 2.0.0 OK
    > QUIT
    < 221 2.0.0 closing the session
    """,
        way,
    )
    content = b"Subject: dots\r\n\r\n.\r\n.leading\r\n is not a lone dot\r\nthe end.\r\n"
    assert recorder.messages == [("a@example.org", ["b@example.net"], content)]


def test_empty_data(way: Way) -> None:
    recorder = play(OPEN + "    > DATA\n    < 354 end with CRLF . CRLF\n    > .\n    < 250 2.0.0 OK", way)
    assert recorder.messages == [("a@example.org", ["b@example.net"], b"")]


def test_several_transactions(way: Way) -> None:
    text = OPEN + "    >> BDAT 7 LAST\\r\\nhello\\r\\n\n    < 250 2.0.0 OK\n"
    recorder = play(text * 5, way)
    assert recorder.messages == [("a@example.org", ["b@example.net"], b"hello\r\n")] * 5


@pytest.mark.parametrize("octets", [r"a\nb", r"a\rb", r"\n.\n", r"a\r", r"\ra", r"a\n\n.", r"\n"])
def test_bare_newline(way: Way, octets: str) -> None:
    text = (
        OPEN
        + rf"""
    > DATA
    < 354 end with CRLF . CRLF
    >> {octets}\r\n.\r\n
    < %s
    """
    )
    refused = play(text % "554 5.6.0 bare CR or LF in the message", way)
    assert refused.ends == ["content broken"]
    normalized = play(text % "250 2.0.0 OK", way, settings=ServerSettings(bare_newline="normalize"))
    ((_, _, content),) = normalized.messages
    assert content.count(b"\r\n") == content.count(b"\r") == content.count(b"\n")


@pytest.mark.parametrize("end", [r"\n.\n", r"\r.\r", r"\n.\r\n", r"\r\n.\n", r"\r\n.\r", r"\r.\r\n", r"\r\n\0.\r\n"])
def test_only_crlf_dot_crlf_ends_data(way: Way, end: str) -> None:
    recorder = play(
        OPEN
        + rf"""
    > DATA
    < 354 end with CRLF . CRLF
    >> a{end}MAIL FROM:<smuggled@example.org>\r\n.\r\n
    < {"250 2.0.0 OK" if "0" in end else "554 5.6.0 bare CR or LF in the message"}
    """,
        way,
    )
    assert len(recorder.transactions) == 1


def test_command_that_ends_in_a_bare_newline(way: Way) -> None:
    play(
        r"""
    >> NOOP\nQUIT\r\n
    < 500 5.5.2 a line ends in a bare LF
    < 421 4.7.0 this is a mail relay for the local MTA
    """,
        way,
    )
    play(
        "    >> NOOP\\n\n    < 250 2.0.0 OK\n    > QUIT\n    < 221 2.0.0 closing the session",
        way,
        settings=ServerSettings(bare_newline="normalize"),
    )


def test_size(way: Way) -> None:
    settings = ServerSettings(max_message_size=104857600)
    recorder = play(
        """
    > MAIL FROM:<a@example.org> SIZE=104857601
    < 552 5.3.4 the message is larger than 104857600 octets
    > MAIL FROM:<a@example.org> SIZE=104857600
    < 250 2.1.0 OK
    """,
        way,
        settings=settings,
    )
    assert recorder.ends == ["abandon"]


def test_lmtp_answers_for_each_recipient(way: Way) -> None:
    final = [OurReply.DELIVERED.value, Reply(550, "5.1.1", ("no such user",))]
    recorder = play(
        """
    > MAIL FROM:<>
    < 250 2.1.0 OK
    > RCPT TO:<b@example.net>
    < 250 2.1.5 OK
    > RCPT TO:<c@example.net>
    < 550 5.4.4 no route over Tor for this domain
    > RCPT TO:<d@example.net>
    < 250 2.1.5 OK
    > DATA
    < 354 end with CRLF . CRLF
    > x
    > .
    < 250 2.0.0 OK
    < 550 5.1.1 no such user
    > EHLO x
    < 500 5.5.1 unknown command
    > QUIT
    < 221 2.0.0 closing the session
    """,
        way,
        recorder=Recorder(final=final, recipients={"c@example.net": OurReply.NO_ROUTE_REJECTED.value}),
        is_lmtp=True,
    )
    assert recorder.messages == [("", ["b@example.net", "d@example.net"], b"x\r\n")]
    assert recorder.transactions[0].client.protocol == "LMTP"


def test_lmtp_without_recipients_has_one_answer(way: Way) -> None:
    play(
        """
    > MAIL FROM:<>
    < 250 2.1.0 OK
    > DATA
    < 503 5.5.1 no recipient was accepted
    >> BDAT 3 LAST\\r\\nabc
    < 503 5.5.1 no recipient was accepted
    """,
        way,
        is_lmtp=True,
    )


def test_lmtp_refused_content_is_refused_for_each(way: Way) -> None:
    play(
        OPEN
        + r"""
    > RCPT TO:<c@example.net>
    < 250 2.1.5 OK
    >> BDAT 3 LAST\r\na\nb
    < 554 5.6.0 bare CR or LF in the message
    < 554 5.6.0 bare CR or LF in the message
    """,
        way,
        is_lmtp=True,
    )


def test_other_commands(way: Way) -> None:
    play(
        """
    < 0
    > MAIL FROM:<a@example.org>
    < 503 5.5.1 send EHLO first
    > LHLO x
    < 500 5.5.1 unknown command
    > EHLO
    < 501 5.5.4 the name of the client is missing
    > HELO client.example
    < 250 onionmx.localhost
    > MAIL FROM:<a@example.org> SIZE=1
    < 555 5.5.4 no parameters without EHLO
    > RCPT TO:<a@example.org>
    < 503 5.5.1 send MAIL first
    > DATA
    < 503 5.5.1 send MAIL first
    > noop with something behind it
    < 250 2.0.0 OK
    > VRFY root
    < 252 2.0.0 not verified, but a message to it will be tried
    > VRFY
    < 501 5.5.4 the address is missing
    > EXPN staff
    < 502 5.5.1 command not implemented
    > AUTH PLAIN AGEAYg==
    < 502 5.5.1 command not implemented
    > STARTTLS
    < 502 5.5.1 command not implemented
    > HELP
    < 214 2.0.0 see RFC 5321 and RFC 2033
    > XCLIENT ADDR=192.0.2.1
    < 500 5.5.1 unknown command
    >
    < 500 5.5.1 unknown command
    > RSET x
    < 501 5.5.4 RSET has no arguments
    > QUIT now
    < 501 5.5.4 QUIT has no arguments
    > quit
    < 221 2.0.0 closing the session
    """.replace("    < 0\n", ""),
        way,
        is_greeted=True,
    )


def test_long_lines_are_skipped_whole(way: Way) -> None:
    play(
        f"""
    > NOOP {"x" * (8192 - 7)}
    < 250 2.0.0 OK
    > NOOP {"x" * (8192 - 6)}
    < 500 5.5.2 line longer than 8192 octets
    > QUIT {"QUIT " * 2000}
    < 500 5.5.2 line longer than 8192 octets
    > NOOP
    < 250 2.0.0 OK
    """,
        way,
    )


def test_line_that_is_no_text(way: Way) -> None:
    play(r"""    >> NOO\xff\r\n""" + "\n    < 500 5.5.1 unknown command\n    > NOOP\n    < 250 2.0.0 OK", way)


@pytest.mark.parametrize("request_line", ["GET / HTTP/1.1", "POST / HTTP/1.1", "CONNECT x:25 HTTP/1.1"])
def test_browser_is_hung_up_on(way: Way, request_line: str) -> None:
    """A web page may make a browser post to a loopback port; its body would be commands."""
    text = f"    > {request_line}\n    < 421 4.7.0 this is a mail relay for the local MTA\n    > MAIL FROM:<>"
    play(text, way, is_greeted=True)


def test_session_full_of_bad_commands_ends(way: Way) -> None:
    text = "    > x\n    < 500 5.5.1 unknown command\n" * 19
    play(text + "    > x\n    < 421 4.7.0 too many bad commands\n    > NOOP", way)


def test_client_that_half_closes_gets_its_replies(way: Way) -> None:
    """All the commands are there: the end of the input behind them takes nothing back."""
    recorder = play(OPEN + "    >> BDAT 3 LAST\\r\\na\\r\\n\n    < 250 2.0.0 OK", way)
    assert len(recorder.messages) == 1
