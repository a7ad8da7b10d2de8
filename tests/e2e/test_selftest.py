"""`onionmx selftest` from one Exim to the echo of another one: over Tor, over the clearnet, and without an answer."""

import json
from collections.abc import Iterator
from email import message_from_bytes
from itertools import pairwise

import pytest

from tests.net.stranger import folder_for_others

from .conftest import skip_without
from .echo_site import ALICE, CLEARNET, OUTSIDE, RECEIVER, SENDER, EchoSite
from .tor_network import TorNetwork

ECHO = f"echo@{RECEIVER}"


@pytest.fixture(scope="module")
def site(tor_network: TorNetwork) -> Iterator[EchoSite]:
    skip_without("exim4", "setpriv")
    with folder_for_others() as folder, EchoSite(tor_network, folder / "site") as running:
        yield running


def test_over_the_onion(site: EchoSite) -> None:
    done = site.selftest(ECHO, "--json")
    assert done.returncode == 0, done.stdout + done.stderr + site.receiver.log_text()
    report = json.loads(done.stdout)
    assert (report["way"], report["answer"]["way"], report["exit_code"]) == ("onion", "onion", 0)
    first, last = report["hops"]
    assert (first["by"], last["by"], last["address"]) == (SENDER, RECEIVER, "127.0.0.1")
    times = [report["sent"], first["time"], last["time"], report["echo"], report["answer"]["hops"][-1]["time"]]
    assert all(before <= after for before, after in pairwise(times))
    assert report["dkim"] == ["pass"]


def test_what_people_see(site: EchoSite) -> None:
    done = site.selftest(ECHO)
    assert done.returncode == 0
    assert "message: over an onion: " in done.stdout
    assert "answer: over an onion: " in done.stdout
    assert f"dkim: pass (header.d={SENDER})" in done.stdout


def test_the_answer_has_no_sender(site: EchoSite) -> None:
    assert site.selftest(ECHO).returncode == 0
    answer = message_from_bytes(site.sender.delivered()[-1])
    assert (answer["From"], answer["To"], answer["Auto-Submitted"]) == (ECHO, ALICE, "auto-replied")
    site.receiver.wait_for_log("<= <> .* P=local")


def test_the_mta_chooses_the_sender(site: EchoSite) -> None:
    """As for a user who gives no address: From is the MTA's, and the answer goes to it."""
    done = site.selftest(ECHO, sender="")
    assert done.returncode == 0, done.stdout + done.stderr + site.sender.log_text()


def test_over_the_clearnet(site: EchoSite) -> None:
    done = site.selftest(f"echo@{CLEARNET}", "--json")
    assert done.returncode == 3, done.stdout + done.stderr + site.receiver.log_text()
    report = json.loads(done.stdout)
    assert (report["way"], report["answer"]["way"]) == ("clearnet", "onion")
    assert OUTSIDE in report["reason"]


def test_the_message_comes_back(site: EchoSite) -> None:
    done = site.selftest(f"nobody@{RECEIVER}")
    assert done.returncode == 75
    assert "no answer: the message came back undelivered: " in done.stdout
    assert "unknown recipient" in done.stdout


def test_without_the_echo_the_message_waits(site: EchoSite) -> None:
    """The echo cannot read how often it has answered, and so answers nobody; nothing is lost meanwhile."""
    before = len(site.sender.delivered())
    kept = site.memory.read_bytes()
    site.memory.write_bytes(b"{")
    done = site.selftest(ECHO, "--timeout", "5")
    assert done.returncode == 75
    assert "there is no answer in the mailbox after 5 s" in done.stdout
    site.receiver.wait_for_log("delete it to begin anew")
    site.memory.write_bytes(kept)
    site.receiver.run_queue()
    assert len(site.sender.wait_for_delivered(before + 1)) == before + 1


def test_it_removes_its_answer_alone(site: EchoSite) -> None:
    before = site.sender.delivered()
    assert site.selftest(ECHO, "--remove").returncode == 0
    assert site.sender.delivered() == before


def test_the_echo_as_a_daemon(site: EchoSite) -> None:
    """While it is stopped the message waits, and nobody gets an answer."""
    address, before = f"daemon@{RECEIVER}", len(site.sender.delivered())
    done = site.selftest(address, "--timeout", "5")
    assert done.returncode == 75
    site.receiver.wait_for_log(f"== {address} .* defer")
    site.start_daemon()
    site.receiver.run_queue()
    site.sender.wait_for_delivered(before + 1)
    done = site.selftest(address)
    assert done.returncode == 0, done.stdout + done.stderr + site.daemon.log.read_text()
    site.daemon.stop()
    assert not site.lmtp.exists()
    assert "INFO onionmx.echo.daemon: answered: onion" in site.daemon.log.read_text()
    assert ALICE not in site.daemon.log.read_text()
