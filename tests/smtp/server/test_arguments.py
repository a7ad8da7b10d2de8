"""Arguments of MAIL and RCPT, good and bad."""

import pytest

from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.reply import OurReply
from onionmx.smtp.server import ServerSettings
from tests.smtp.server.dialog import answers, play
from tests.smtp.server.recorder import Recorder

XTEXT_ENVID = "QQ+2B314159"


@pytest.mark.parametrize(
    ("arguments", "envelope"),
    [
        ("FROM:<>", Envelope("")),
        ("FROM:<a@example.org>", Envelope("a@example.org")),
        ("from: <a@example.org>  ", Envelope("a@example.org")),
        ("FROM:<@one.example,@[192.0.2.1]:a@example.org>", Envelope("a@example.org")),
        ("FROM:<@[IPv6:2001:db8::1]:a@example.org>", Envelope("a@example.org")),
        (r'FROM:<"a <b>\" c"@example.org>', Envelope(r'"a <b>\" c"@example.org')),
        ("FROM:<a..b.@example.org>", Envelope("a..b.@example.org")),
        ("FROM:<a@[IPv6:2001:db8::1]>", Envelope("a@[IPv6:2001:db8::1]")),
        ("FROM:<a@example.org> SIZE=0", Envelope("a@example.org", size=0)),
        ("FROM:<a@example.org> size=1000 body=8bitmime", Envelope("a@example.org", size=1000, body="8BITMIME")),
        ("FROM:<a@example.org> BODY=7BIT", Envelope("a@example.org")),
        ("FROM:<ä@exämple.org> SMTPUTF8", Envelope("ä@exämple.org", smtputf8=True)),
        ("FROM:<ä@exämple.org>", Envelope("ä@exämple.org")),
        ("FROM:<" + "b" * 300 + "@example.org>", Envelope("b" * 300 + "@example.org")),
        (r"FROM:<a\b@example.org>", Envelope(r"a\b@example.org")),
        ("FROM:<> ENVID=a+b+2bc=d+2", Envelope("", envid="a+2Bb+2Bc+3Dd+2B2")),
        ("FROM:<> ENVID=" + "x" * 301, Envelope("")),
        ("FROM:<> ENVID=ä", Envelope("")),
        ("FROM:<> ENVID", Envelope("")),
        (f"FROM:<> RET=hdrs ENVID={XTEXT_ENVID}", Envelope("", ret="HDRS", envid=XTEXT_ENVID)),
    ],
)
def test_mail(arguments: str, envelope: Envelope) -> None:
    recorder = play(f"> MAIL {arguments}\n< 250 2.1.0 OK")
    assert recorder.transactions[0].envelope == envelope


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("", "501 5.5.4"),
        ("TO:<a@example.org>", "501 5.5.4"),
        ("FROM:", "501 5.1.7"),
        ("FROM:a@example.org", "501 5.1.7"),
        ("FROM:<a@example.org", "501 5.1.7"),
        ("FROM:<a@example.org>SIZE=1", "501 5.1.7"),
        ("FROM:<postmaster>", "451 4.1.7"),
        ("FROM:<a@>", "451 4.1.7"),
        ("FROM:<@example.org>", "451 4.1.7"),
        ("FROM:<a b@example.org>", "501 5.1.7"),
        ("FROM:<a\x00b@example.org>", "451 4.1.7"),
        ("FROM:<a\rb@example.org>", "451 4.1.7"),
        ("FROM:<" + "b" * 1000 + "@example.net>", "451 4.1.7"),
        ("FROM:<> SMTPUTF8=yes", "501 5.5.4"),
        ("FROM:<> SIZE", "501 5.5.4"),
        ("FROM:<> SIZE=x", "501 5.5.4"),
        ("FROM:<> SIZE=-1", "501 5.5.4"),
        ("FROM:<> SIZE=1 SIZE=1", "501 5.5.4"),
        ("FROM:<> size=1 SIZE=2", "501 5.5.4"),
        ("FROM:<> BODY=BINARYMIME", "501 5.5.4"),
        ("FROM:<> BODY", "501 5.5.4"),
        ("FROM:<> BODY=", "501 5.5.4"),
        ("FROM:<> =1", "501 5.5.4"),
        ("FROM:<> RET=ALL", "501 5.5.4"),
        ("FROM:<> RET", "501 5.5.4"),
        ("FROM:<> ENVID=a\tb", "501 5.5.4"),
        ("FROM:<> AUTH=<>", "555 5.5.4"),
        ("FROM:<> NOTIFY=NEVER", "555 5.5.4"),
        ("FROM:<> REQUIRETLS", "555 5.5.4"),
    ],
)
def test_mail_refused(arguments: str, code: str) -> None:
    check_refused(f"MAIL {arguments}", code)


@pytest.mark.parametrize(
    ("arguments", "recipient"),
    [
        ("TO:<b@example.net>", Recipient("b@example.net")),
        ("to:<Postmaster>", Recipient("Postmaster")),
        ("TO:<@one.example:b@example.net>", Recipient("b@example.net")),
        ("TO:<b@[192.0.2.1]>", Recipient("b@[192.0.2.1]")),
        ('TO:<"b c"@example.net>', Recipient('"b c"@example.net')),
        ("TO:<ü@example.net>", Recipient("ü@example.net")),
        ("TO:<b@example.net> NOTIFY=success,DELAY", Recipient("b@example.net", notify="success,DELAY")),
        ("TO:<b@example.net> ORCPT=rfc822", Recipient("b@example.net")),
        ("TO:<b@example.net> ORCPT=rfc822;", Recipient("b@example.net")),
        ("TO:<b@example.net> ORCPT=rfc822;ü", Recipient("b@example.net")),
        ("TO:<b@example.net> ORCPT=rfc822;" + "o" * 500, Recipient("b@example.net")),
        ("TO:<b@example.net> ORCPT=rfc822;a+zz=@d", Recipient("b@example.net", orcpt="rfc822;a+2Bzz+3D@d")),
        ("TO:<b@example.net> ORCPT=utf-8;ü@d", Recipient("b@example.net", orcpt="utf-8;ü@d")),
        ("TO:<b@example.net> orcpt=rfc822;b+2Bc@d", Recipient("b@example.net", orcpt="rfc822;b+2Bc@d")),
    ],
)
def test_rcpt(arguments: str, recipient: Recipient) -> None:
    recorder = play(f"> MAIL FROM:<> SMTPUTF8\n< 250 2.1.0 OK\n> RCPT {arguments}\n< 250 2.1.5 OK")
    assert recorder.transactions[0].accepted == [recipient]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("", "501 5.5.4"),
        ("TO:", "501 5.1.3"),
        ("TO:<>", "501 5.1.3"),
        ("TO:<b>", "451 4.1.3"),
        ("TO:b@example.net", "501 5.1.3"),
        ("TO:<" + "b" * 1000 + "@example.net>", "451 4.1.3"),
        ("TO:<b@example.net> NOTIFY=NEVER,SUCCESS", "501 5.5.4"),
        ("TO:<b@example.net> NOTIFY=", "501 5.5.4"),
        ("TO:<b@example.net> SIZE=1", "555 5.5.4"),
        ("TO:<b@example.net> NOTIFY=NEVER NOTIFY=NEVER", "501 5.5.4"),
    ],
)
def test_rcpt_refused(arguments: str, code: str) -> None:
    check_refused(f"RCPT {arguments}", code, before="MAIL FROM:<>\r\n")


def check_refused(command: str, code: str, before: str = "") -> None:
    """The code is right, and the session goes on."""
    *_, said, last = answers(f"{before}{command}\r\nNOOP\r\n")
    assert said.startswith(code), said
    assert last == "250 2.0.0 OK"


@pytest.mark.parametrize(
    ("parameters", "is_lmtp", "protocol"),
    [
        ("", False, "ESMTP"),
        (" SMTPUTF8", False, "UTF8SMTP"),
        ("", True, "LMTP"),
        (" SMTPUTF8", True, "UTF8LMTP"),
    ],
)
def test_protocol_for_received(parameters: str, protocol: str, *, is_lmtp: bool) -> None:
    recorder = play(f"> MAIL FROM:<>{parameters}\n< 250 2.1.0 OK", is_lmtp=is_lmtp)
    client = recorder.transactions[0].client
    assert (client.protocol, client.is_lmtp) == (protocol, is_lmtp)


def test_too_many_recipients() -> None:
    accepted = "".join(f"> RCPT TO:<b{number}@example.net>\n< 250 2.1.5 OK\n" for number in range(1000))
    recorder = play(
        "> MAIL FROM:<>\n< 250 2.1.0 OK\n"
        + accepted
        + "> RCPT TO:<b@example.net>\n"
        + f"< {OurReply.TOO_MANY_RECIPIENTS.value}\n"
        + ">> BDAT 3 LAST\\r\\nabc\n< 250 2.0.0 OK"
    )
    ((_, recipients, _),) = recorder.messages
    assert len(recipients) == 1000


def test_refused_recipients_do_not_count() -> None:
    play(
        "> MAIL FROM:<>\n< 250 2.1.0 OK\n"
        "> RCPT TO:<b@example.net>\n< 451 4.4.4 no route over Tor for this domain\n"
        "> RCPT TO:<c@example.net>\n< 250 2.1.5 OK\n"
        f"> RCPT TO:<d@example.net>\n< {OurReply.TOO_MANY_RECIPIENTS.value}",
        recorder=Recorder(recipients={"b@example.net": OurReply.NO_ROUTE.value}),
        settings=ServerSettings(max_recipients=1),
    )


def test_more_recipients_show_in_pipelined_input() -> None:
    recorder = play(
        "> MAIL FROM:<>\n> RCPT TO:<b@example.net>\n> rcpt TO:<c@example.net>\n> DATA\n"
        "< 250 2.1.0 OK\n< 250 2.1.5 OK\n< 250 2.1.5 OK\n< 354 end with CRLF . CRLF\n> .\n< 250 2.0.0 OK"
    )
    assert recorder.transactions[0].more == [True, False]
