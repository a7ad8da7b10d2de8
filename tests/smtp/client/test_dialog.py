"""The dialogue for questions: every reply comes back as it is, and every fault of the peer as one line."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from onionmx.net.connect import over_tcp
from onionmx.smtp.client.dialog import Dialog, DialogError, open_dialog
from onionmx.smtp.faults import EnvelopeError, MisuseError, OpeningError, StreamError
from onionmx.tor.socks import Cause, SocksError
from tests.net.certificates import issue
from tests.probe.mx import OFFERING_TLS, SHORT, Mx, dialog_with, run
from tests.relay.peer import hang, reset, running, saying, trickle


def test_questions_and_goodbye() -> None:
    mx = Mx(replies={"VRFY": "550 5.1.1 nobody\r\n", "RCPT": "451-4.7.1 not\r\n451 4.7.1 now\r\n"})

    async def test(dialog: Dialog) -> None:
        assert (await dialog.command("VRFY root")).code == 550
        assert (await dialog.command("MAIL FROM:<>")).is_positive
        reply = await dialog.command("RCPT TO:<user@example.org>")
        assert (reply.code, reply.enhanced, reply.lines) == (451, "4.7.1", ("not", "now"))
        assert (await dialog.command("RSET")).is_positive
        assert dialog.extensions.pipelining
        assert dialog.tls is None

    dialog_with(mx, test)
    assert mx.commands == [
        "EHLO client.example",
        "VRFY root",
        "MAIL FROM:<>",
        "RCPT TO:<user@example.org>",
        "RSET",
        "QUIT",
    ]


def test_all_extensions_are_kept_with_their_parameters() -> None:
    lines = ("mx.example", "AUTH=LOGIN", "auth PLAIN", "", "XCLIENT NAME ADDR")
    mx = Mx(replies={"EHLO": "".join(f"250-{line}\r\n" for line in lines) + "250 VRFY\r\n"})

    async def test(dialog: Dialog) -> None:
        assert dialog.offered == {"AUTH": "LOGIN PLAIN", "XCLIENT": "NAME ADDR", "VRFY": ""}

    dialog_with(mx, test)


def test_a_server_without_ehlo() -> None:
    mx = Mx(replies={"EHLO": "502 5.5.1 what?\r\n", "HELO": "250-mx.example\r\n250 STARTTLS\r\n"})

    async def test(dialog: Dialog) -> None:
        assert dialog.offered == {}
        assert not dialog.extensions.starttls

    dialog_with(mx, test)
    assert mx.commands == ["EHLO client.example", "HELO client.example", "QUIT"]


async def _nothing(_dialog: Dialog) -> None:
    """Only to open it."""


@pytest.mark.parametrize(
    "replies", [{"greeting": "554 5.7.1 no\r\n"}, {"EHLO": "450 4.7.1 no\r\n"}, {"greeting": "421 4.7.0 no\r\n"}]
)
def test_a_server_that_refuses_the_session(replies: dict[str, str]) -> None:
    with pytest.raises(OpeningError, match=r"refuses the session: \d+ \S+ no") as caught:
        dialog_with(Mx(replies=replies), _nothing)
    assert caught.value.reply


FAULTS = {
    "reset": (reset, "connection", False),
    "silence": (hang, f"no reply within {SHORT:g} s", False),
    "trickle": (trickle, f"no reply within {SHORT:g} s", False),
    "not SMTP": (saying("SSH-2.0-OpenSSH_9.2\r\n"), "not an SMTP reply", True),
    "a long line": (saying("2" * 1_000_000 + "\r\n"), "not an SMTP reply", True),
    "control characters": (saying("\x1b[2J\r\n"), "not an SMTP reply: b'.x1b", True),
    "two codes": (saying("250-one\r\n550 two\r\n"), "the codes 250 and 550", True),
}


@pytest.mark.parametrize("verb", ["greeting", "EHLO", "VRFY"])
@pytest.mark.parametrize("name", FAULTS)
def test_faults_at_each_step(verb: str, name: str) -> None:
    fault, words, is_violation = FAULTS[name]

    async def test(dialog: Dialog) -> None:
        try:
            await dialog.command("VRFY root")
        finally:
            assert not dialog.is_usable
            with pytest.raises(DialogError, match="NOOP: VRFY"):
                await dialog.command("NOOP")

    with pytest.raises(DialogError, match=f"{verb}: .*({words})") as caught:
        dialog_with(Mx(faults={verb: fault}), test, SHORT if "within" in words else 20)
    assert caught.value.is_violation == is_violation
    assert str(caught.value).isprintable()


def test_a_reply_too_many() -> None:
    async def test(dialog: Dialog) -> None:
        await dialog.command("VRFY root")
        with pytest.raises(DialogError, match="NOOP: a reply came before the command"):
            await dialog.command("NOOP")

    dialog_with(Mx(replies={"VRFY": "550 no\r\n250 yes\r\n"}), test)


def test_nothing_is_asked_after_421() -> None:
    async def test(dialog: Dialog) -> None:
        assert (await dialog.command("VRFY root")).code == 421
        assert not dialog.is_usable
        with pytest.raises(DialogError, match=r"RSET: the peer closes the session: 421 4.3.2 going"):
            await dialog.command("RSET")

    mx = Mx(replies={"VRFY": "421 4.3.2 going\r\n"})
    dialog_with(mx, test)
    assert mx.commands[-1] == "VRFY root"


@pytest.mark.parametrize(
    "line", ["DATA", "data", "BDAT 3 LAST", "STARTTLS", "VRFY a\r\nDATA", "VRFY a\nDATA", "VRFY \0"]
)
def test_what_is_no_question_is_never_sent(line: str) -> None:
    async def test(dialog: Dialog) -> None:
        with pytest.raises(MisuseError):
            await dialog.command(line)

    mx = Mx()
    dialog_with(mx, test)
    assert mx.commands == ["EHLO client.example", "QUIT"]


def test_a_server_that_ignores_goodbye() -> None:
    dialog_with(Mx(faults={"QUIT": hang}), _nothing, SHORT)


def test_cancelling_does_not_wait_for_goodbye() -> None:
    async def test(_dialog: Dialog) -> None:
        raise asyncio.CancelledError

    mx = Mx(faults={"QUIT": hang})
    with pytest.raises(asyncio.CancelledError):
        dialog_with(mx, test)
    assert mx.commands == ["EHLO client.example"]


def test_causes_of_tor() -> None:
    with pytest.raises(SocksError) as caught:
        dialog_with(Mx(socks=0xF2), _nothing)
    assert caught.value.cause is Cause.INTRODUCTION_FAILED


def test_without_tor() -> None:
    async def test() -> None:
        mx = Mx(is_behind_socks=False)
        async with running(mx):
            endpoint = ("127.0.0.1", mx.port)
            async with open_dialog(over_tcp(5), endpoint, "client.example", 5) as dialog:
                assert (await dialog.command("NOOP")).is_positive
        with pytest.raises(StreamError, match=f"127.0.0.1:{mx.port}: "):
            async with open_dialog(over_tcp(5), endpoint, "client.example", 5):
                pass

    run(test())


def test_a_name_that_cannot_be_said() -> None:
    async def test() -> None:
        with pytest.raises(EnvelopeError):
            async with open_dialog(over_tcp(5), ("127.0.0.1", 1), "not a name", 5):
                pass

    run(test())


def secured(test: Callable[[Dialog], Awaitable[None]], tmp_path: Path) -> Mx:
    context = issue("mx.example").context(tmp_path)
    mx = Mx(replies={"EHLO": OFFERING_TLS, "STARTTLS": "220 go\r\n"}, context=context)
    dialog_with(mx, test)
    return mx


def test_tls(tmp_path: Path) -> None:
    async def test(dialog: Dialog) -> None:
        assert (await dialog.start_tls()).is_positive
        assert dialog.tls
        assert dialog.tls.version() == "TLSv1.3"
        assert dialog.tls.getpeercert(binary_form=True)
        assert (await dialog.say_hello()).is_positive
        assert (await dialog.command("NOOP")).is_positive

    mx = secured(test, tmp_path)
    assert mx.commands == ["EHLO client.example", "STARTTLS", "EHLO client.example", "NOOP", "QUIT"]


def test_tls_refused() -> None:
    async def test(dialog: Dialog) -> None:
        assert (await dialog.start_tls()).code == 454
        assert (await dialog.command("NOOP")).is_positive
        assert dialog.tls is None

    dialog_with(Mx(replies={"STARTTLS": "454 4.7.0 no\r\n"}), test)


def test_a_certificate_that_is_not_wanted(tmp_path: Path) -> None:
    async def test(dialog: Dialog) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        with pytest.raises(DialogError, match=r"handshake failed.*self-signed") as caught:
            await dialog.start_tls(context)
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert caught.value.is_violation
        assert not dialog.is_usable

    secured(test, tmp_path)


def test_handshake_that_fails() -> None:
    mx = Mx(replies={"STARTTLS": "220 go\r\n", "EHLO": OFFERING_TLS})

    async def test(dialog: Dialog) -> None:
        with pytest.raises(DialogError, match="handshake"):
            await dialog.start_tls()

    dialog_with(mx, test, SHORT)


def test_bytes_in_the_clear_before_the_handshake() -> None:
    async def test(dialog: Dialog) -> None:
        with pytest.raises(DialogError, match="in the clear") as caught:
            await dialog.start_tls()
        assert caught.value.is_violation

    dialog_with(Mx(replies={"STARTTLS": "220 go\r\n250 injected\r\n"}), test)
