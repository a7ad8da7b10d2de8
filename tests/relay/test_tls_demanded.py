"""A peer that demands TLS (530) and with which TLS does not come about for the moment: never a bounce."""

from pathlib import Path

import pytest

from tests.net.certificates import issue
from tests.relay.onion_mx import CLOSE, EXTENSIONS, SILENCE, Answer, Dialog, OnionMx
from tests.relay.served import Site, codes, play

DEMAND = "530 5.7.0 Must issue a STARTTLS command first"
OFFERED = (*EXTENSIONS, "STARTTLS")
FAILURES = {
    "454": "454 4.7.0 TLS not available",
    "421": "421 4.3.2 closing",
    "554": "554 5.7.3 no",
    "closed": CLOSE,
    "closed in the handshake": None,
    "no TLS": "220 go\r\nthis is not a handshake",
    "silence": SILENCE,
}
WAYS = {"LMTP": (True, 1), "SMTP": (False, 1), "SMTP, two recipients": (False, 2)}


def demanding(at: str, starttls: str | None) -> Answer:
    def answer(dialog: Dialog, verb: str, _line: str) -> str | None:
        if verb == at and not dialog.is_encrypted:
            return DEMAND
        return starttls if verb == "STARTTLS" else None

    return answer


@pytest.mark.parametrize("at", ["MAIL", "RCPT"])
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("way", WAYS)
def test_starttls_that_fails_is_temporary(tmp_path: Path, at: str, failure: str, way: str) -> None:
    lmtp, count = WAYS[way]

    async def test(site: Site) -> None:
        replies = await site.send(*(f"user{number}@example.org" for number in range(count)), lmtp=lmtp)
        refused = [reply for reply in replies if not reply.startswith("250 2.1.5")]
        assert refused
        assert {reply[:3] for reply in refused} == {"451"}, replies
        assert not site.mx.taken

    play(tmp_path, test, OnionMx(demanding(at, FAILURES[failure]), OFFERED), deadline=2.0)


@pytest.mark.parametrize("at", ["MAIL", "RCPT"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [10, 300_000], ids=["kept", "streamed"])
def test_tls_on_demand(tmp_path: Path, at: str, way: str, size: int) -> None:
    lmtp, count = WAYS[way]
    issued = issue("mx.example")
    content = b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n" * (size // 2)

    async def test(site: Site) -> None:
        names = [f"user{number}@example.org" for number in range(count)]
        replies = await site.send(*names, lmtp=lmtp, content=content)
        assert {reply[:3] for reply in replies} == {"250"}, replies
        (taken,) = site.mx.taken
        assert taken.content.endswith(content)
        assert taken.recipients == tuple(names)

    context = issued.context(tmp_path)
    play(tmp_path, test, OnionMx(demanding(at, None), OFFERED, tls=context), keep_limit=1000)


def test_530_under_tls_or_without_starttls_is_the_peers_own_refusal(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        assert codes(await site.send("user@example.org"))[1:] == ["530 5.7.0"]

    play(tmp_path, test, OnionMx(demanding("MAIL", None)))
    context = issue("mx.example").context(tmp_path)

    def always(_dialog: Dialog, verb: str, _line: str) -> str | None:
        return "530 5.7.0 Authentication required" if verb == "MAIL" else None

    play(tmp_path, test, OnionMx(always, OFFERED, tls=context))


@pytest.mark.parametrize("lmtp", [True, False])
def test_530_to_one_of_several_is_temporary_while_tls_can_be_started(tmp_path: Path, *, lmtp: bool) -> None:
    """Alone, that recipient is delivered: the session is then encrypted."""
    context = issue("mx.example").context(tmp_path)

    def answer(dialog: Dialog, verb: str, line: str) -> str | None:
        refused = verb == "RCPT" and "<b@" in line and "STARTTLS" not in dialog.commands
        return "530 5.7.0 Must issue a STARTTLS command first" if refused else None

    async def test(site: Site) -> None:
        replies = await site.send("a@example.org", "b@example.org", lmtp=lmtp)
        assert sorted(reply[:9] for reply in replies if not reply.startswith("250 2.1.5")) == ["250 2.0.0", "451 4.7.5"]
        assert "530 5.7.0" in next(reply for reply in replies if reply.startswith("451"))

    play(tmp_path, test, OnionMx(answer, OFFERED, tls=context))
