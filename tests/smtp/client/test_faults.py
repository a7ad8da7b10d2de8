"""Every fault of a peer at every step of every dialog."""

import pytest

from onionmx.smtp.client.events import Closed
from onionmx.smtp.client.outcome import Ending, Sent
from onionmx.smtp.client.states import State
from tests.smtp.client.dialogs import DIALOGS, Player

GARBAGE = {
    "http": b"HTTP/1.1 400 Bad Request\r\n",
    "binary": bytes(range(256)),
    "no code": b"OK\r\n",
    "code of 600": b"600 what\r\n",
    "two codes in one reply": b"250-a\r\n251 b\r\n",
    "endless reply": b"250-x\r\n" * 10_000,
}
CLOSING = b"421 4.3.2 shutting down\r\n"


def replies_of(dialog: str) -> int:
    return sum(line.strip().startswith("<") for line in dialog.splitlines())


def cut_before(dialog: str, number: int) -> tuple[str, str]:
    """The dialog up to a reply, and that reply."""
    lines = [line.strip() for line in dialog.splitlines()]
    place = [index for index, line in enumerate(lines) if line.startswith("<")][number]
    return "\n".join(lines[:place]), lines[place].removeprefix("< ")


STEPS = [
    pytest.param(dialog, number, id=f"{name} {number}")
    for name, dialog in DIALOGS.items()
    for number in range(replies_of(dialog))
]


def check_over(player: Player, ending: Ending) -> None:
    """The session is over, said so once, and each transaction has an outcome that is no success."""
    assert player.connection.state in {State.CLOSED, State.BROKEN}
    assert sum(isinstance(event, Closed) for event in player.events) == 1
    assert not player.connection.is_usable
    assert not player.connection.can_begin
    assert player.connection.data_to_send() == []
    assert player.connection.awaiting is None
    assert len(player.outcomes) == len(player.begun)
    for outcome in player.outcomes:
        assert outcome.ending in {Ending.ANSWERED, Ending.ABANDONED, ending}
        if outcome.is_delivered:
            assert outcome.ending is Ending.ANSWERED
        if outcome.ending is ending:
            assert outcome.final is None or not outcome.final.is_positive
            assert outcome.cause
            assert not outcome.answer(0).is_positive


@pytest.mark.parametrize(("dialog", "number"), STEPS)
def test_end_of_connection(dialog: str, number: int) -> None:
    start, reply = cut_before(dialog, number)
    for beginning in (b"", reply[:2].encode()):
        player = Player()
        player.play(start)
        everything = b"LAST" in player.sent or b"\r\n.\r\n" in player.sent
        player.connection.receive_data(beginning)
        player.act("eof")
        player.act("eof")
        check_over(player, Ending.LOST)
        if player.outcomes and not everything and player.outcomes[-1].ending is Ending.LOST:
            assert player.outcomes[-1].sent is not Sent.EVERYTHING or player.sent == b""


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize(("dialog", "number"), STEPS)
def test_garbage(dialog: str, number: int, garbage: bytes) -> None:
    start, _ = cut_before(dialog, number)
    player = Player()
    player.play(start)
    player.connection.receive_data(garbage)
    player.flush()
    check_over(player, Ending.BROKEN)
    player.connection.receive_data(b"250 OK\r\n")
    player.flush()
    check_over(player, Ending.BROKEN)


@pytest.mark.parametrize(("dialog", "number"), STEPS)
def test_closing(dialog: str, number: int) -> None:
    start, reply = cut_before(dialog, number)
    if "-" in reply[3:4]:
        return  # in the middle of a reply it is one with two codes
    previous = start.splitlines()[-1] if start else ""
    if previous.startswith("<") and previous[5:6] == "-":
        return
    player = Player()
    player.play(start)
    player.connection.receive_data(CLOSING + b"250 too late\r\n")
    player.flush()
    check_over(player, Ending.CLOSED)
    assert not any(outcome.may_have_been_accepted for outcome in player.outcomes)


@pytest.mark.parametrize(("dialog", "number"), STEPS)
@pytest.mark.parametrize("times", [0, 2])
def test_wrong_number_of_replies(dialog: str, number: int, times: int) -> None:
    """A reply too few or too many shifts those after it; what stays true is that no success lacks its 2xx."""
    start, reply = cut_before(dialog, number)
    player = Player()
    player.play(start)
    for _ in range(times):
        player.connection.receive_data(reply.encode() + b"\r\n")
    player.act("eof")
    assert player.connection.state in {State.CLOSED, State.BROKEN}
    assert len(player.outcomes) == len(player.begun)
    for outcome in player.outcomes:
        if outcome.is_delivered:
            assert outcome.final is not None
            assert outcome.final.is_positive


@pytest.mark.parametrize("text", ["250 OK", "550 no", "354 go"])
def test_unasked_reply_in_the_middle_of_data(text: str) -> None:
    player = Player()
    player.play(DIALOGS["pipelined DATA"].partition("! send last")[0])
    player.connection.receive_data(text.encode() + b"\r\n")
    player.flush()
    check_over(player, Ending.BROKEN)
    assert player.outcomes[0].sent is Sent.PART
