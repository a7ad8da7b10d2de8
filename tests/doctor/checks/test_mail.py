"""What the doctor makes of an MX, by real sessions over TCP."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from onionmx.doctor.checks.mail import StrangerSession
from onionmx.doctor.finding import Finding, Severity
from onionmx.net.connect import over_tcp
from tests.doctor.smtp_peer import Answer, Mx, playing, sound

OWN, FOREIGN = "example.org", "example.net"


def look(mx: Mx) -> list[Finding]:
    async def run() -> list[Finding]:
        async with playing(mx) as endpoint:
            return await StrangerSession(over_tcp(5.0), endpoint, "client.example", OWN, FOREIGN).look()

    return asyncio.run(run())


def severities(findings: Sequence[Finding]) -> dict[str, list[Severity]]:
    found: dict[str, list[Severity]] = {}
    for finding in findings:
        found.setdefault(finding.check, []).append(finding.severity)
    return found


def but(**changes: Callable[[str], str | None]) -> Callable[[], Answer]:
    """A sound MX but for the answers to some verbs."""

    def answer(line: str) -> str:
        change = changes.get(line.partition(" ")[0].lower())
        return (change(line) if change else None) or sound(line)

    return lambda: answer


ALL_OK = {"accepts-mail": [Severity.OK], "open-relay": [Severity.OK], "rights": [Severity.OK]}


def test_sound_mx_and_what_it_was_asked() -> None:
    mx = Mx(lambda: sound)
    findings = look(mx)
    assert severities(findings) == ALL_OK
    assert "15 attempts to relay were refused" in findings[1].seen
    assert not [line for line in mx.lines if line.upper().startswith(("DATA", "BDAT"))]
    assert len(mx.sessions) == 4
    recipients = {line for line in mx.lines if line.startswith("RCPT") and "onionmx-doctor" not in line}
    assert recipients == {
        "RCPT TO:<postmaster@example.net>",
        "RCPT TO:<@example.org:postmaster@example.net>",
        "RCPT TO:<postmaster%example.net@example.org>",
        'RCPT TO:<"postmaster@example.net"@example.org>',
        "RCPT TO:<example.net!postmaster@example.org>",
        "RCPT TO:<postmaster@example.org>",
    }
    senders = {line for line in mx.lines if line.startswith("MAIL")}
    assert senders == {
        "MAIL FROM:<postmaster@example.net>",
        "MAIL FROM:<postmaster@example.org>",
        "MAIL FROM:<>",
    }
    assert all(len([line for line in session if line.startswith("RCPT")]) < 10 for session in mx.sessions)


def test_relay_for_a_local_sender_alone_is_open() -> None:
    def begin() -> Answer:
        session: list[str] = []

        def answer(line: str) -> str:
            session.append(line)
            is_trusted = "MAIL FROM:<postmaster@example.org>" in session
            return "250 OK" if is_trusted and line == "RCPT TO:<postmaster@example.net>" else sound(line)

        return answer

    findings = look(Mx(begin))
    assert severities(findings)["open-relay"] == [Severity.PROBLEM]
    assert "plain; 1 in all" in findings[1].seen
    assert "from <postmaster@example.org>" in findings[1].seen


def test_session_that_ends_early_goes_on_in_another() -> None:
    """As with MTAs that hang up after some errors: here after two recipients."""
    answered: Counter[str] = Counter()

    def begin() -> Answer:
        left = iter(range(2))

        def answer(line: str) -> str:
            if line.startswith("RCPT"):
                if next(left, None) is None:
                    return "421 too many errors"
                answered[line] += 1
            return sound(line)

        return answer

    assert severities(look(Mx(begin))) == ALL_OK
    assert set(answered.values()) == {3}


def test_mx_with_one_session_at_a_time() -> None:
    mx = Mx(lambda: sound, most=1)
    found = severities(look(mx))
    assert found["accepts-mail"] == found["open-relay"] == [Severity.OK]


def test_mx_that_answers_later_says_nothing_yet() -> None:
    findings = look(Mx(but(rcpt=lambda _: "451 4.7.1 greylisted, come back later")))
    assert severities(findings) == {
        "accepts-mail": [Severity.NOT_CHECKED],
        "open-relay": [Severity.NOT_CHECKED],
        "rights": [Severity.OK],
    }
    assert "greylisted" in findings[1].seen


def test_mx_that_refuses_everything_shows_nothing() -> None:
    found = severities(look(Mx(but(rcpt=lambda _: "550 go away"))))
    assert found["accepts-mail"] == [Severity.PROBLEM]
    assert found["open-relay"] == [Severity.NOT_CHECKED]


def test_nobody_listens() -> None:
    async def run() -> list[Finding]:
        async with playing(Mx(lambda: sound)) as endpoint:
            pass
        return await StrangerSession(over_tcp(5.0), endpoint, "client.example", OWN, FOREIGN).look()

    assert {finding.severity for finding in asyncio.run(run())} == {Severity.NOT_CHECKED}


def test_garbage_is_not_an_mx() -> None:
    findings = look(Mx(lambda: lambda _line: "\x1b[31mSSH-2.0"))
    assert {finding.severity for finding in findings} == {Severity.NOT_CHECKED}
    assert not any("\x1b" in finding.seen for finding in findings)


@pytest.mark.parametrize(
    ("change", "words", "severity"),
    [
        ({"ehlo": lambda _: "250-mx\r\n250 AUTH PLAIN LOGIN"}, "AUTH PLAIN LOGIN", Severity.PROBLEM),
        ({"ehlo": lambda _: "250-mx\r\n250 AUTH=PLAIN"}, "AUTH PLAIN", Severity.PROBLEM),
        ({"ehlo": lambda _: "250-mx\r\n250 XCLIENT NAME ADDR"}, "XCLIENT", Severity.PROBLEM),
        ({"ehlo": lambda _: "250-mx\r\n250 XFORWARD NAME ADDR"}, "XFORWARD", Severity.PROBLEM),
        ({"vrfy": lambda _: "250 <postmaster@example.org>"}, "VRFY", Severity.WARNING),
        ({"vrfy": lambda line: "252 ok" if "postmaster" in line else "550 unknown"}, "VRFY", Severity.WARNING),
        ({"expn": lambda _: "250 <alice@example.org>"}, "EXPN", Severity.WARNING),
        ({"etrn": lambda _: "252 OK, pending messages started"}, "ETRN", Severity.WARNING),
    ],
)
def test_rights(change: dict[str, Callable[[str], str | None]], words: str, severity: Severity) -> None:
    rights = [finding for finding in look(Mx(but(**change))) if finding.check == "rights"]
    assert [finding.severity for finding in rights] == [severity]
    assert words in rights[0].seen
    assert rights[0].fix


def test_reply_that_tells_nobody_apart_gives_no_right() -> None:
    change = {"vrfy": lambda _line: "252 cannot VRFY", "expn": lambda _line: "252 cannot EXPN"}
    assert severities(look(Mx(but(**change)))) == ALL_OK


def test_questions_that_were_not_answered_are_named() -> None:
    findings = look(Mx(but(expn=lambda _: "421 enough")))
    rights = [finding for finding in findings if finding.check == "rights"]
    assert [finding.severity for finding in rights] == [Severity.NOT_CHECKED]
    assert "ETRN" in rights[0].seen
