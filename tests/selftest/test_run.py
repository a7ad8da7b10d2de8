"""Sending and waiting."""

from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from onionmx.echo.answer import compose, make_report
from onionmx.echo.request import Request, examine
from onionmx.echo.submit import SubmitError
from onionmx.errors import InputError
from onionmx.selftest.mailbox import Maildir, Mbox
from onionmx.selftest.message import check_address
from onionmx.selftest.run import INTERVAL, SelftestResult, selftest
from tests.echo.messages import ECHO, RECEIVED, SENDER

Deliver = Callable[[bytes], None]


class World:
    """A mailbox, and an echo that answers after some looks at it."""

    def __init__(self, folder: Path) -> None:
        self.time = 1764399600.0
        self.path = folder / "mbox"
        self.mailbox = Mbox(self.path)
        self.received: tuple[str, ...] = RECEIVED
        self.looks = 0
        self.answers_at = 3
        self.sent: list[EmailMessage] = []

    def submit(self, sender: str | None, recipient: str, message: EmailMessage) -> None:
        assert (sender, recipient) == (SENDER, ECHO)
        self.sent.append(message)

    def answer(self) -> bytes:
        content = "".join(f"{line}\r\n" for line in self.received).encode() + self.sent[0].as_bytes()
        asked = examine(content, SENDER)
        assert isinstance(asked, Request)
        return compose(asked, make_report(asked, self.time, "", None), ECHO).as_bytes()

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.looks += 1
        if self.looks == self.answers_at:
            self.path.write_bytes(b"From x\n" + self.answer() + b"\n\n")

    def run(self, timeout: float = 100.0) -> SelftestResult:
        return selftest(ECHO, SENDER, self.submit, [self.mailbox], timeout, now=lambda: self.time, sleep=self.sleep)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_over_an_onion(world: World) -> None:
    result = world.run()
    assert (result.exit_code, result.seconds) == (0, 3 * INTERVAL)


def test_over_the_clearnet(world: World) -> None:
    world.received = (RECEIVED[0].replace("127.0.0.1", "8.8.8.8"), RECEIVED[1])
    assert world.run().exit_code == 3


def test_an_answer_that_does_not_show_the_way(world: World) -> None:
    world.received = RECEIVED[1:]
    assert world.run().exit_code == 75


def test_no_answer(world: World) -> None:
    world.answers_at = 0
    result = world.run(1.2)
    assert (result.exit_code, result.answer) == (75, None)
    assert result.seconds == pytest.approx(1.2)
    assert result.why == "there is no answer in the mailbox after 1.2 s"


def test_half_an_answer_is_waited_for(world: World) -> None:
    world.answers_at = 0
    sleep = world.sleep

    def write(seconds: float) -> None:
        sleep(seconds)
        whole = b"From x\n" + world.answer()
        world.path.write_bytes(whole[: len(whole) // 2] if world.looks < 3 else whole)

    world.sleep = write  # type: ignore[method-assign]
    assert world.run().exit_code == 0


def test_an_mta_that_does_not_take_it(tmp_path: Path) -> None:
    def refuse(sender: str | None, recipient: str, message: EmailMessage) -> None:
        raise SubmitError(f"451 {sender} {recipient} {message}")

    with pytest.raises(SubmitError):
        selftest(ECHO, SENDER, refuse, [Maildir(tmp_path)], 1.0)


@pytest.mark.parametrize(
    "address", ["", "a", "a@", "@b", "-oQ@b c", "a@b\n", "a@b.example, c@d.example", "ä@b.example"]
)
def test_addresses_that_cannot_be_tested_with(address: str) -> None:
    with pytest.raises(InputError, match="expected NAME@DOMAIN"):
        check_address(address)
