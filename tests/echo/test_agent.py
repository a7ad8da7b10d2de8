"""A message in, at most one answer out."""

import asyncio
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path

import pytest

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.echo.agent import Echo, EchoOptions, RouteUnknownError
from onionmx.echo.memory import LIMITS
from onionmx.echo.path import Way
from onionmx.echo.submit import SubmitError
from onionmx.saved import SavedError
from onionmx.selftest.reply import Answered, classify
from onionmx.target import Route, Source
from tests.echo.messages import ECHO, SENDER, TOKEN, request

FOUND = Found(Route("sender.example", (), Source.MAP, None))
SUBJECT = "Subject: Buy at http://evil.example"


class Answers:
    """The echo, with what it has handed to the MTA."""

    def __init__(
        self, folder: Path, answer: Answer = FOUND, *, allow_clearnet: bool = False, authserv_id: str = ""
    ) -> None:
        self.asked: list[str] = []
        self.sent: list[tuple[str | None, str, EmailMessage]] = []
        self.error: Exception | None = None

        async def ask(domain: str) -> Answer:
            self.asked.append(domain)
            return answer

        def submit(sender: str | None, recipient: str, message: EmailMessage) -> None:
            if self.error:
                raise self.error
            self.sent.append((sender, recipient, message))

        chosen = EchoOptions(folder / "echo.json", allow_clearnet, authserv_id)
        self._echo = Echo(chosen, ask, submit, clock=lambda: 1764399605.5)

    def take(self, content: bytes, sender: str | None = SENDER, recipient: str = ECHO) -> str:
        return asyncio.run(self._echo.take(content, sender, recipient))


def test_an_answer(tmp_path: Path) -> None:
    echo = Answers(tmp_path)
    assert echo.take(request(SUBJECT)) == "answered: onion"
    [(sender, recipient, message)] = echo.sent
    assert (sender, recipient, message["To"], message["From"]) == ("", SENDER, SENDER, ECHO)
    assert (message["Auto-Submitted"], message["In-Reply-To"]) == ("auto-replied", "<1@sender.example>")
    content = message.as_bytes()
    assert b"evil" not in content
    found = classify(content, TOKEN)
    assert isinstance(found, Answered)
    assert found.report.path.way is Way.ONION
    assert found.report.time == 1764399605.5
    assert [result.method for result in found.report.results] == ["dkim"]
    assert echo.asked == ["sender.example"]


def test_its_own_answer_is_not_answered(tmp_path: Path) -> None:
    echo = Answers(tmp_path)
    echo.take(request())
    content = echo.sent[0][2].as_bytes()
    for sender in ("", ECHO, SENDER):
        assert echo.take(content, sender, SENDER).startswith("no answer: ")
    assert len(echo.sent) == 1


def test_no_field_of_a_stranger_comes_back(tmp_path: Path) -> None:
    pills = "from http://evil.example/pills (visit http://evil.example now)"
    prose = f"Received: {pills} by evil.example (cheap pills here) with buy it; never"
    echo = Answers(tmp_path)
    echo.take(request(prose, f"X-Note: {prose}", RESULTS_OF_ANOTHER))
    text = message_from_bytes(echo.sent[0][2].as_bytes()).as_string()
    assert not [word for word in ("http://", "/pills", "visit", "cheap", "spam") if word in text]


RESULTS_OF_ANOTHER = "Authentication-Results: other.example; dkim=spam"


def test_who_is_believed_can_be_said(tmp_path: Path) -> None:
    echo = Answers(tmp_path, authserv_id="OTHER.example")
    echo.take(request(RESULTS_OF_ANOTHER))
    found = classify(echo.sent[0][2].as_bytes(), TOKEN)
    assert isinstance(found, Answered)
    assert [result.result for result in found.report.results] == ["spam"]


def test_no_answer_over_the_clearnet(tmp_path: Path) -> None:
    no_route = NoRoute("sender.example", "no entry in the map")
    echo = Answers(tmp_path, no_route)
    assert "--allow-clearnet" in echo.take(request())
    assert echo.sent == []
    allowed = Answers(tmp_path, no_route, allow_clearnet=True)
    assert allowed.take(request()) == "answered: onion"
    assert allowed.asked == []


def test_what_cannot_be_told_keeps_the_message(tmp_path: Path) -> None:
    echo = Answers(tmp_path, CouldNotTell("sender.example", "timeout"))
    with pytest.raises(RouteUnknownError, match="timeout"):
        echo.take(request())
    (tmp_path / "echo.json").write_text("damaged")
    with pytest.raises(SavedError):
        Answers(tmp_path).take(request())


def test_an_mta_that_does_not_take_it_keeps_the_message(tmp_path: Path) -> None:
    echo = Answers(tmp_path)
    echo.error = SubmitError("451")
    with pytest.raises(SubmitError):
        echo.take(request())


def test_the_limit(tmp_path: Path) -> None:
    echo = Answers(tmp_path)
    for _ in range(LIMITS["sender"]):
        echo.take(request())
    assert echo.take(request()) == "no answer: 12 an hour is the limit for sender"
    assert len(echo.sent) == LIMITS["sender"]


@pytest.mark.parametrize("recipient", [SENDER, SENDER.upper(), "", "echo", "echo@x.example\nBcc: a@b.example"])
def test_the_address_of_the_echo_is_another_one(tmp_path: Path, recipient: str) -> None:
    echo = Answers(tmp_path)
    assert echo.take(request(), recipient=recipient).startswith("no answer: ")
    assert echo.sent == []
