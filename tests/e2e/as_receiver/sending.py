"""How messages are sent: in one flight, many on a session, to recipients who are refused, of every size and form."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.daemon import wait_until
from tests.e2e.relay import Relay

from .announced import BEHIND_EHLO, REFUSED
from .desk import Desk, new_message
from .mta import Handover, Reply
from .peer import UNKNOWN, USERS

FROM_PEER = "onion-mx said: "
CLIENTS = 20
"""Sessions of the MTA with the relay, side by side."""
SESSIONS = 2
"""Sessions of the relay with the peer."""
IN_FLIGHT = 10
"""Messages on the way at once on a session: `relay.transactions_in_flight`."""
TOO_LARGE = 552
LITTLE = 65536
"""Bytes that are no part of a large message."""


def in_one_flight(desk: Desk, relay: Relay) -> None:
    """A message for all users takes as many flights on an open session as what is announced allows."""
    with Handover(relay.lmtp) as session:
        desk.deliver(session, USERS[:1], new_message())
        message = new_message()
        replies, _ = desk.deliver(session, USERS, message)
    assert all(reply.is_positive for reply in replies), replies
    desk.settle()
    [used] = [session for session in desk.wire.sessions if message[1] in session.sent]
    assert used.messages >= 2, "it was not the session of the message before"
    assert used.flights_of(message[1]) == desk.row.flights, used.flights
    assert (b"\r\nBDAT " in used.sent) == desk.row.flags["CHUNKING"]


def many_on_few_sessions(desk: Desk) -> None:
    """Several hundred messages on few sessions, side by side: none is lost, none there twice, and none deferred."""
    first = len(desk.wire.sessions)
    limits = (f"sessions_per_onion = {SESSIONS}", f'messages_per_session_of = {{ "{desk.peer.onion}" = 100000 }}')
    each = desk.peer.most // CLIENTS

    def client(number: int) -> list[int]:
        with Handover(relay.lmtp) as session:
            return [desk.deliver(session, [USERS[number]], new_message())[1] for _ in range(each)]

    with desk.relaying("many", *limits) as relay, ThreadPoolExecutor(CLIENTS) as clients:
        tries = [count for counts in clients.map(client, range(CLIENTS)) for count in counts]
        log = relay.log_text()
    desk.settle()
    assert max(tries) == 1, f"{sum(tries) - len(tries)} more tries were needed\n{log}"
    sessions = desk.wire.after(first)
    limit = desk.peer.session_limit
    if limit is None or limit >= desk.peer.most:
        refused = desk.row.early in {BEHIND_EHLO, REFUSED}  # one that was sent early
        assert len(sessions) <= SESSIONS + refused, [session.messages for session in sessions]
    else:
        assert len(sessions) > SESSIONS
        above = max(session.messages for session in sessions) - limit
        if any(b"MAILMAX=" in session.received for session in sessions):
            assert above == 0
        else:  # the first one above it is refused, and those behind it, which are on their way
            assert 0 < above <= IN_FLIGHT


def recipients_who_are_refused(desk: Desk, relay: Relay) -> None:
    """Each recipient gets the peer's own reply, whichever others are named beside it."""
    with Handover(relay.lmtp) as session:
        users = (USERS[0], f"{UNKNOWN}-a", USERS[1], f"{UNKNOWN}-b")
        good, bad, other, worse = desk.hand_over(session, users, new_message())
        assert (good.is_positive, other.is_positive) == (True, True), (good, other)
        _refused_by_peer(bad, worse)
        _refused_by_peer(*desk.hand_over(session, (f"{UNKNOWN}-c", f"{UNKNOWN}-d"), new_message()))
        guessed = [f"{UNKNOWN}-{number}" for number in range(desk.peer.guesses)]
        *refused, taken = desk.deliver(session, [*guessed, USERS[2]], new_message())[0]
        _refused_by_peer(*refused)
        assert taken.is_positive, taken
        if desk.peer.deferred:
            waits, good = desk.hand_over(session, (desk.peer.deferred, USERS[3]), new_message())
            assert waits.is_transient, waits
            assert FROM_PEER in waits.text, waits
            assert good.is_positive, good
        # What was refused as a whole has left nothing behind.
        assert all(reply.is_positive for reply in desk.deliver(session, USERS[:1], new_message())[0])
    desk.settle()


def _refused_by_peer(*replies: Reply) -> None:
    for reply in replies:
        assert not reply.is_positive, reply
        assert not reply.is_transient, reply
        assert FROM_PEER in reply.text, reply


def above_its_size(desk: Desk, relay: Relay) -> None:
    """What the peer says to be too large is not sent, or no more than that where the MTA does not say the size."""
    limit = desk.peer.size_limit
    if not limit:
        return
    # Exim counts each line end as one byte, and the relay refuses what is too large by any count.
    message = new_message(("x" * 950 + "\r\n") * (limit // 950))
    before = _sent_in_all(desk)
    with Handover(relay.lmtp) as session:
        for options, sent in ([f"SIZE={len(message[0])}"], LITTLE), ([], limit + LITTLE):
            [reply] = desk.hand_over(session, USERS[:1], message, options=options)
            assert reply.code == TOO_LARGE, reply
            assert reply.text.startswith("5.3.4 the message is larger than the onion MX takes"), reply
            assert _sent_in_all(desk) - before < sent
        assert all(reply.is_positive for reply in desk.deliver(session, USERS[:1], new_message())[0])
    desk.settle()


def _sent_in_all(desk: Desk) -> int:
    return sum(len(session.sent) for session in desk.wire.sessions)


AWKWARD = ".\r\n..\r\n.dot\r\nFrom here\r\n" + "x" * 998 + "\r\nblanks  \r\n\r\n"
HEADER = "X-Folded: one\r\n\ttwo  three\r\nx-Case:no blank\r\n"


def of_every_form(desk: Desk, relay: Relay) -> None:
    """What servers have stumbled over arrives as it was sent, or is refused by name."""
    flags = desk.row.flags
    # Each has a mailbox of its own: who finds one locked waits for seconds.
    users = ([user] for user in USERS)
    with Handover(relay.lmtp) as session:
        _arrives_unchanged(desk, session, next(users), new_message(AWKWARD + "line\r\n" * 3000, header=HEADER))
        eight_bit = new_message(AWKWARD + "\u00fc\r\n")
        for options in (["BODY=8BITMIME"], []):
            [reply] = desk.hand_over(session, next(users), eight_bit, options=options)
            assert reply.is_positive == flags["8BITMIME"], reply
        [reply] = desk.hand_over(session, next(users), new_message(), sender="")
        assert reply.is_positive, reply
        parameters = ["NOTIFY=NEVER", f"ORCPT=rfc822;list@{desk.peer.domain}"]
        [reply] = desk.hand_over(
            session, next(users), new_message(), options=["RET=HDRS", "ENVID=x+2By"], of_recipients=parameters
        )
        assert reply.is_positive, reply
        international = new_message(header="X-Name: J\u00fcrgen\r\n")
        [reply] = desk.hand_over(session, next(users), international, options=["SMTPUTF8", "BODY=8BITMIME"])
        if flags["SMTPUTF8"]:
            assert reply.is_positive, reply
        else:
            assert reply.text.startswith("5.6.7 the onion MX does not take internationalized addresses"), reply
    desk.settle()


def _arrives_unchanged(desk: Desk, session: Handover, users: Sequence[str], message: tuple[bytes, bytes]) -> None:
    [reply] = desk.hand_over(session, users, message)
    assert reply.is_positive, reply
    _, _, body = message[0].partition(b"\r\n\r\n")
    # A mailbox may be looked at while it is written.
    wait_until(lambda: _bodies(desk, message[1]) == [body.rstrip()], "the message, unchanged")


def _bodies(desk: Desk, mark: bytes) -> list[bytes]:
    return [copy.text.partition(b"\r\n\r\n")[2].rstrip() for copy in desk.copies(mark)]
