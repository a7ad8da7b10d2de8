"""How sessions begin: what the peer announces, what it takes early, and TLS."""

import re

from tests.e2e.onion_smtp import OnionSession
from tests.e2e.relay import Relay
from tests.e2e.socks import Address

from .announced import BEFORE_GREETING, BEHIND_EHLO, FLAGS, NEVER, REFUSED
from .desk import Desk, new_message
from .mta import Handover
from .peer import USERS, Peer

ROUNDS = 3
MOST_ROUNDS = 30
"""Until what is sent early was refused once: about every second time, as a server looks whether it is there already."""
AFTER_REFUSAL = 2
TLS_REQUIRED = 451
TLS_DEMANDED = b"\r\n530 "


def announces(peer: Peer, socks: Address) -> None:
    """What it announces is what the table says."""
    with OnionSession(socks, peer.onion) as session:
        offered = session.esmtp_features
    seen = {name: name.lower() in offered for name in FLAGS}
    expected = {**peer.row.flags, "STARTTLS": peer.can_start_tls}
    assert seen == expected, f"{peer.program} {peer.version}: {offered}"
    size = int(offered["size"] or 0) if "size" in offered else None
    assert size == peer.size_limit, offered
    assert ("pipeconnect" in offered) == (peer.row.early == BEFORE_GREETING), offered


def takes_early(desk: Desk) -> None:
    """A first message on a new session leaves before the peer has spoken where it says so, and never elsewhere.

    The relay is restarted each time: what was announced has to be remembered, and no session is open.
    """
    relay = desk.new_relay("early")
    first = len(desk.wire.sessions)
    early = desk.row.early
    for rounds in range(1, 1 + (MOST_ROUNDS if early == REFUSED else ROUNDS)):
        _send_on_new_session(desk, relay)
        if early == REFUSED and len(desk.wire.after(first)) > rounds:  # the message went on another session
            break
    for _ in range(AFTER_REFUSAL if early == REFUSED else 0):
        _send_on_new_session(desk, relay)
    desk.settle()
    sessions = desk.wire.after(first)
    before = [session.began_before_greeting for session in sessions]
    behind = [session.began_behind_ehlo for session in sessions]
    log = re.findall(r" session=(\w+) ", relay.log_text())
    assert any(before) == (early == BEFORE_GREETING), (desk.peer.program, before)
    if early == BEFORE_GREETING:
        assert before == [False, True, True]
        assert log == ["new", "early", "early"]
    elif early == BEHIND_EHLO:
        # It looks for what comes behind EHLO at the moment when it reads that: it may take one and refuse the next.
        assert not behind[0]
        assert any(behind)
        assert re.fullmatch("new( early)*( new)*", " ".join(log)), log
    elif early == REFUSED:
        taken, after = sum(behind) - 1, 1 + AFTER_REFUSAL
        assert behind == [False, *[True] * (taken + 1), *[False] * after], "refused once, and then no more"
        assert log == ["new", *["early"] * taken, *["new"] * after]
    else:
        assert early == NEVER
        assert not any(behind)
        assert log == ["new", "new", "new"]


def _send_on_new_session(desk: Desk, relay: Relay) -> None:
    with relay, Handover(relay.lmtp) as session:
        [reply] = desk.hand_over(session, USERS[:1], new_message())
    assert reply.is_positive, reply


def starts_tls(desk: Desk) -> None:
    """With `relay.tls`, TLS where the peer has a certificate; without one the mail waits, or goes without."""
    for policy in ("require", "opportunistic"):
        first = len(desk.wire.sessions)
        message = new_message()
        with desk.relaying(f"tls-{policy}", f'tls = "{policy}"') as relay, Handover(relay.lmtp) as session:
            [reply] = desk.hand_over(session, USERS[:1], message)
        desk.settle()
        in_the_clear = any(message[1] in session.sent for session in desk.wire.after(first))
        if desk.peer.can_start_tls:
            assert reply.is_positive, reply
            assert not in_the_clear
        elif policy == "opportunistic":
            assert reply.is_positive, reply
            assert in_the_clear
        else:
            assert reply.code == TLS_REQUIRED, reply
            assert reply.text.startswith("4.7.5 "), reply
            assert not in_the_clear


def demands_tls(desk: Desk) -> None:
    """The peer says 530 to MAIL: the relay starts TLS, whatever `relay.tls` says."""
    first = len(desk.wire.sessions)
    message = new_message()
    with desk.relaying("on-demand") as relay, Handover(relay.lmtp) as session:
        replies = desk.hand_over(session, USERS[:2], message)
    assert all(reply.is_positive for reply in replies), replies
    desk.settle()
    *_, last = sessions = desk.wire.after(first)
    assert TLS_DEMANDED in last.received
    assert not any(message[1] in session.sent for session in sessions)
