"""The core against dialogs as text: each fed whole, byte by byte, and with bytes too many at the end."""

import pytest

from onionmx.smtp.client.core import ClientConnection
from onionmx.smtp.client.events import Closed, Fault, Ready, Refused, TlsGranted
from onionmx.smtp.client.outcome import Ending, Sent
from onionmx.smtp.client.pipeline import Stage
from onionmx.smtp.client.states import State, TlsPolicy
from onionmx.smtp.envelope import Envelope
from onionmx.smtp.faults import EnvelopeError, MisuseError
from tests.smtp.client.dialogs import (
    DIALOGS,
    ENVELOPE,
    FEEDS,
    FLIGHT,
    LOCK_STEP,
    MESSAGE,
    OPENING,
    PIPELINED_DATA,
    Feed,
    Player,
    opening,
)

FLIGHT_SENT = """
    ! message
    > MAIL FROM:<a@a.example>
    > RCPT TO:<b@b.example>
    > BDAT 4 LAST
    > hi
"""


def played(dialog: str, tls: TlsPolicy = TlsPolicy.NEVER) -> Player:
    player = Player(tls)
    player.play(dialog)
    return player


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize("dialog", DIALOGS.values(), ids=DIALOGS)
def test_dialog(dialog: str, feed: Feed) -> None:
    player = Player(feed=feed)
    player.play(dialog)
    assert player.sent == b""
    assert player.connection.state in {State.READY, State.CLOSED}
    assert not player.connection.transactions
    assert len(player.outcomes) == len(player.begun)
    for outcome in player.outcomes:
        assert outcome.ending in {Ending.ANSWERED, Ending.ABANDONED}
        assert not outcome.may_have_been_accepted


@pytest.mark.parametrize("dialog", DIALOGS.values(), ids=DIALOGS)
def test_dialog_with_trailing_bytes(dialog: str) -> None:
    """A reply too many breaks the session once, and changes nothing of what had an outcome before."""
    player = played(dialog)
    before = list(player.outcomes)
    was_closed = player.connection.state is State.CLOSED
    player.receive(b"250 too many\r\n")
    player.receive(b"250 again\r\n")
    assert player.outcomes == before
    assert player.connection.state is (State.CLOSED if was_closed else State.BROKEN)
    assert sum(isinstance(event, Closed) for event in player.events) == 1
    assert player.connection.data_to_send() == []


@pytest.mark.parametrize(
    ("dialog", "round_trips"),
    [("one flight", 1), ("pipelined DATA", 2), ("lock-step with chunks", 4), ("two messages in flight", 1)],
)
def test_round_trips_of_a_transaction(dialog: str, round_trips: int) -> None:
    player = played(DIALOGS[dialog])
    assert [outcome.round_trips for outcome in player.outcomes] == [round_trips] * len(player.outcomes)


def test_round_trips_of_a_session() -> None:
    player = played(FLIGHT + FLIGHT_SENT + "< 250 OK\n" * 3)
    assert player.connection.round_trips == 2  # EHLO and the flight


def test_five_messages_in_flight_are_one_round_trip() -> None:
    player = played(FLIGHT)
    for _ in range(5):
        player.act("message")
    player.sent = b""
    player.receive(b"250 OK\r\n" * (5 * 3 + 4))
    assert [outcome.is_delivered for outcome in player.outcomes] == [True] * 5
    assert player.connection.round_trips == 2


def test_content_leaves_without_a_copy() -> None:
    player = played(FLIGHT)
    content = b"x" * 100_000
    player.connection.begin(ENVELOPE).send(content, last=True)
    commands, sent = player.connection.data_to_send()
    assert commands == b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nBDAT 100000 LAST\r\n"
    assert sent is content


def test_only_with_pipelining_and_chunking_transactions_overlap() -> None:
    player = played(FLIGHT + FLIGHT_SENT)
    assert player.connection.can_begin
    for slower in (PIPELINED_DATA, LOCK_STEP):
        player = played(slower)
        player.act("message")
        assert not player.connection.can_begin
        assert player.connection.is_usable
        with pytest.raises(MisuseError):
            player.connection.begin(ENVELOPE)


def test_an_unfinished_message_keeps_others_off() -> None:
    player = played(FLIGHT + "! begin")
    for act in ("begin", "quit"):
        with pytest.raises(MisuseError):
            player.act(act)


@pytest.mark.parametrize("act", ["send one", "send end", "add b"])
def test_a_complete_message_takes_no_more(act: str) -> None:
    player = played(FLIGHT + FLIGHT_SENT)
    with pytest.raises(MisuseError):
        player.act(act)


def test_content_needs_a_recipient() -> None:
    player = played(FLIGHT + "! begin without recipients")
    with pytest.raises(MisuseError):
        player.act("send end")


def test_an_ended_transaction_takes_everything_and_does_nothing() -> None:
    player = played(FLIGHT + FLIGHT_SENT + "< 250 OK\n" * 3)
    for act in ("add b", "send one", "send end", "abandon"):
        player.act(act)
    assert player.sent == b""
    assert player.outcomes == [player.begun[0].outcome]


def test_flow_control_figures() -> None:
    player = played(LOCK_STEP.replace("peer.example\n", "peer.example\n"))
    player.act("begin")
    player.act("send one")
    assert (player.begun[0].unsent, player.begun[0].unacknowledged) == (5, 0)
    player = played(FLIGHT)
    player.act("begin")
    player.act("send one")
    player.act("send .two")
    assert (player.begun[0].unsent, player.begun[0].unacknowledged) == (0, 11)
    player.sent = b""
    player.receive(b"250 OK\r\n250 OK\r\n250 OK\r\n")
    assert (player.begun[0].unsent, player.begun[0].unacknowledged) == (0, 6)


@pytest.mark.parametrize("code", [421, 450, 554])
def test_greeting_refused(code: int) -> None:
    player = played(f"< {code} 4.3.2 no" if code == 421 else f"< {code} no\n> QUIT\n< 221 bye")
    assert player.connection.state is State.CLOSED
    refusals = [event for event in player.events if isinstance(event, Refused)]
    if code == 421:
        assert not refusals
    else:
        assert refusals[0].reply is not None
        assert refusals[0].reply.code == code


def test_ehlo_refused_for_the_moment_is_not_answered_with_helo() -> None:
    player = played(OPENING + "< 450 not now\n> QUIT")
    assert [event.stage for event in player.events if isinstance(event, Refused)] == [Stage.EHLO]


@pytest.mark.parametrize("code", [500, 501, 502, 503, 504, 550, 554])
def test_ehlo_refused_for_good_is_answered_with_helo(code: int) -> None:
    player = played(OPENING + f"< {code} what?\n> HELO client.example\n< 250 hello")
    assert isinstance(player.events[-1], Ready)


def test_helo_refused() -> None:
    player = played(OPENING + "< 500 what?\n> HELO client.example\n< 550 no\n> QUIT")
    assert [event.stage for event in player.events if isinstance(event, Refused)] == [Stage.HELO]


def test_tls_where_offered() -> None:
    player = played(opening("STARTTLS", "PIPELINING") + "> STARTTLS\n< 220 go", TlsPolicy.OPPORTUNISTIC)
    assert isinstance(player.events[-1], TlsGranted)
    player.play("! tls started\n> EHLO client.example\n< 250-peer.example\n< 250 CHUNKING")
    assert isinstance(player.events[-1], Ready)
    assert player.connection.is_encrypted
    assert not player.connection.extensions.pipelining


def test_tls_declined() -> None:
    dialog = opening("STARTTLS", "PIPELINING") + "> STARTTLS\n< 454 no key today\n"
    player = played(dialog, TlsPolicy.OPPORTUNISTIC)
    assert isinstance(player.events[-1], Ready)
    player = played(dialog + "> QUIT", TlsPolicy.REQUIRE)
    assert isinstance(player.events[-1], Refused)


@pytest.mark.parametrize("dialog", [opening("PIPELINING"), OPENING + "< 500 what?"])
def test_tls_required_and_not_offered(dialog: str) -> None:
    player = played(dialog + "> QUIT" if dialog.endswith("\n") else dialog + "\n> QUIT", TlsPolicy.REQUIRE)
    refused = player.events[-1]
    assert isinstance(refused, Refused)
    assert refused.own.value.enhanced == "4.7.5"


@pytest.mark.parametrize("smuggled", [b"250 injected\r\n", b"2"])
def test_bytes_in_the_clear_after_starttls(smuggled: bytes) -> None:
    """They were put there by somebody on the way, to be read as the first reply under TLS."""
    for pieces in ((b"220 go\r\n" + smuggled,), (b"220 go\r\n", smuggled)):
        player = played(opening("STARTTLS") + "> STARTTLS", TlsPolicy.OPPORTUNISTIC)
        for piece in pieces:
            player.receive(piece)
        assert player.connection.state is State.BROKEN


def test_refused_rset_leaves_no_usable_session() -> None:
    player = played(FLIGHT + "! begin\n> MAIL FROM:<a@a.example>\n> RCPT TO:<b@b.example>\n! abandon\n> RSET")
    player.receive(b"250 OK\r\n250 OK\r\n502 no RSET here\r\n")
    assert player.connection.state is State.BROKEN


def test_giving_up_in_the_middle_of_data_ends_the_connection() -> None:
    """A dot would make the half a whole message."""
    for replies in ("", "< 250 OK\n< 250 OK\n< 354 go\n> one"):
        player = played(PIPELINED_DATA + "! begin\n> MAIL FROM:<a@a.example>\n> RCPT TO:<b@b.example>")
        player.play("! send one\n> DATA\n" + replies)
        player.act("abandon")
        assert player.sent == b""
        assert player.connection.state is State.CLOSED
        assert player.outcomes[0].ending is Ending.ABANDONED
        assert player.outcomes[0].sent is (Sent.PART if replies else Sent.NOTHING)
        assert not player.outcomes[0].may_have_been_accepted


def test_giving_up_after_the_end_retires_the_session() -> None:
    player = played(FLIGHT + FLIGHT_SENT)
    player.act("abandon")
    assert player.outcomes[0].may_have_been_accepted
    assert not player.connection.is_usable
    player.act("message") if player.connection.can_begin else None
    player.receive(b"250 OK\r\n250 OK\r\n250 OK\r\n")
    assert len(player.outcomes) == 1
    assert player.connection.state is State.READY


def test_closed_by_421_between_messages() -> None:
    player = played(FLIGHT)
    player.receive(b"421 4.4.2 idle for too long\r\n")
    closed = player.events[-1]
    assert isinstance(closed, Closed)
    assert closed.reply is not None
    assert closed.fault is Fault.NONE
    assert not player.connection.is_usable


def test_421_in_the_place_of_the_first_of_two() -> None:
    """What follows was not carried out, so the second message cannot be a duplicate when it is sent again."""
    player = played(FLIGHT + "! message\n! message")
    player.sent = b""
    player.receive(b"250 OK\r\n250 OK\r\n421 4.3.2 shutting down\r\n")
    first, second = player.outcomes
    assert first.ending is Ending.ANSWERED
    assert first.final is not None
    assert first.final.code == 421
    assert second.ending is Ending.CLOSED
    assert second.sent is Sent.EVERYTHING
    assert not second.may_have_been_accepted
    assert second.answer(0).code == 421


@pytest.mark.parametrize("name", ["", "a b", "a\r\nRSET", "-x", "x" * 300, "ä.example"])
def test_hello_name_is_checked(name: str) -> None:
    with pytest.raises(EnvelopeError):
        ClientConnection(name)


def test_final_success_without_recipients_is_out_of_step() -> None:
    """It must belong to something else: believed, it would lose the message."""
    player = played(FLIGHT + FLIGHT_SENT)
    player.receive(b"250 OK\r\n550 no\r\n250 queued\r\n")
    assert player.connection.state is State.BROKEN
    assert player.outcomes[0].ending is Ending.BROKEN
    assert not player.outcomes[0].is_delivered
    assert player.outcomes[0].may_have_been_accepted


def test_a_message_that_is_taken_after_its_sender_was_refused() -> None:
    """Exim does so when the message in front was left open; RSET avoids it, and it must not pass for a refusal."""
    player = played(FLIGHT + FLIGHT_SENT)
    player.receive(b"503 sender already given\r\n250 Accepted\r\n250 OK\r\n")
    assert player.outcomes[0].ending is Ending.BROKEN
    assert player.outcomes[0].may_have_been_accepted
    assert player.outcomes[0].answer(0).is_transient


def test_answers_for_the_mta() -> None:
    player = played(DIALOGS["one flight, one of two recipients"])
    refused, accepted = (player.outcomes[0].answer(index) for index in range(2))
    assert str(refused) == "550 5.1.1 onion-mx said: no such user"
    assert str(accepted) == "250 onion-mx said: OK"
    player = played(FLIGHT + FLIGHT_SENT + "! eof")
    assert str(player.outcomes[0].answer(0)) == "451 4.4.2 the peer closed the connection"


def test_null_sender_and_sizes() -> None:
    player = played(FLIGHT)
    transaction = player.connection.begin(Envelope("", ENVELOPE.recipients, size=4))
    transaction.send(MESSAGE, last=True)
    assert player.connection.data_to_send()[0].startswith(b"MAIL FROM:<> SIZE=4\r\n")
