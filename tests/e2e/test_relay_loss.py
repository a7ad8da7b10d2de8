"""Postfix's queue, while the relay is killed and tor goes away again and again: nothing is lost.

The order of events is fixed by the number of messages that have arrived, not by the clock.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .conftest import skip_without
from .daemon import wait_until
from .exim import DEBIAN_LIKE, ONION_CLIENTS, Exim
from .postfix import LOCAL_SENDERS, Postfix
from .relay import Relay
from .relay_site import PostfixSender
from .tor_network import TorNetwork

SENDER = "queue.sender.example"
DOMAIN = "sink.example"
MESSAGES = 2000
KILLS = 10
TOR_STOPS = {3, 7}
"""Before which of the kills tor is stopped and started."""
STEP = MESSAGES // (KILLS + 3)
"""Messages from one event to the next; the rest arrives after the last one."""
IN_FLIGHT = 100
"""The processes of Postfix's transport in docs/postfix.md, each with one message."""
FLUSH_INTERVAL = 2.0
"""Seconds between two runs of the queue while nothing arrives."""
PATIENCE = 300.0
"""Seconds for one step: once tor itself may try for its 120 before it gives another circuit a chance."""

SINK = {
    # The sink keeps what it has accepted in its spool: each line in its log is a final 250.
    "main/03_sink": "queue_only\nsmtp_accept_max = 200\nsplit_spool_directory\n",
}


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Exim]:
    """Run the onion MX."""
    if os.geteuid():
        pytest.skip("Postfix's master runs as root only")
    skip_without("exim4", "postqueue", "postmap", "setpriv")
    with Exim(tmp_path / "sink", DOMAIN, parts=DEBIAN_LIKE | SINK) as exim:
        yield exim


class Queue:
    """Postfix's queue of messages with known ids, and what of it has arrived."""

    def __init__(self, postfix: Postfix, sink: Exim) -> None:
        """Take the sender and the onion MX."""
        self._postfix = postfix
        self._sink = sink
        self.sent: set[str] = set()

    def fill(self, messages: int) -> None:
        """Queue so many messages over one session."""
        with self._postfix.connect(LOCAL_SENDERS) as session:
            for number in range(messages):
                identifier = f"{number}@{SENDER}"
                text = f"From: <carol@{SENDER}>\r\nMessage-ID: <{identifier}>\r\n\r\n{number}\r\n"
                session.sendmail(f"carol@{SENDER}", [f"alice@{DOMAIN}"], text.encode())
                self.sent.add(identifier)

    def arrivals(self) -> Counter[str]:
        """Count by id what the onion MX has accepted."""
        return Counter(re.findall(r" <= .* id=(\S+)", self._sink.log_text()))

    def wait_until_arrived(self, messages: int) -> None:
        """Flush the queue until so many different messages have arrived."""
        last = (0, 0.0)

        def arrived() -> bool:
            nonlocal last
            number = len(self.arrivals())
            now = time.monotonic()
            if number > last[0]:
                last = (number, now)
            elif now > last[1] + FLUSH_INTERVAL:
                last = (number, now)
                self._postfix.flush()
            return number >= messages

        wait_until(arrived, f"{messages} messages", PATIENCE)


def test_nothing_is_lost(
    tor_network: TorNetwork, sink: Exim, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as running:
        onion = tor_network.add_onion_service({25: (ONION_CLIENTS, sink.port)})
        running.callback(tor_network.remove_onion_service, onion)
        tor_network.client.wait_until_reachable(onion)
        relay = Relay(tmp_path / "relay", tor_network.client.socks)
        relay.publish({DOMAIN: onion, SENDER: onion})
        running.callback(relay.stop)
        postfix = running.enter_context(PostfixSender(tmp_path / "postfix", SENDER, relay))
        queue = Queue(postfix, sink)
        queue.fill(MESSAGES)
        assert not queue.arrivals()

        begin = time.monotonic()
        relay.start()
        for kill in range(KILLS):
            queue.wait_until_arrived((kill + 1) * STEP)
            if kill in TOR_STOPS:
                tor_network.client.stop()
                tor_network.client.start()
                queue.wait_until_arrived((kill + 1) * STEP + STEP // 2)
            relay.kill()
            relay.start()
        queue.wait_until_arrived(MESSAGES)
        wait_until(lambda: not queue_left(postfix), "an empty queue")
        seconds = time.monotonic() - begin

        arrivals = queue.arrivals()
        assert arrivals.keys() == queue.sent
        assert "status=bounced" not in postfix.log_text()
        # A copy is made only where a final reply was lost: Postfix saw that, or the relay itself when tor went away.
        lost = lost_replies(postfix)
        assert not {name: number for name, number in arrivals.items() if number > 1 + lost[name] + len(TOR_STOPS)}
        duplicates = arrivals.total() - len(arrivals)
        assert duplicates <= (KILLS + len(TOR_STOPS)) * IN_FLIGHT
        with capsys.disabled():
            print(f" {MESSAGES} messages in {seconds:.0f} s, none lost, {duplicates} copies", end=" ")  # noqa: T201


def lost_replies(postfix: Postfix) -> Counter[str]:
    """Count by message id how often Postfix did not learn what became of a message that it had handed over whole."""
    log = postfix.log_text()
    names = dict(re.findall(r"/cleanup\[\d+\]: (\w+): message-id=<(\S+)>", log))
    endings = r"/lmtp\[\d+\]: (\w+): .* status=deferred \((?:lost .* sent more than once|host .* said: 451 4\.4\.2 )"
    return Counter(names[identifier] for identifier in re.findall(endings, log))


def queue_left(postfix: Postfix) -> bool:
    """Flush, and tell whether anything is left."""
    postfix.flush()
    return bool(postfix.queue())
