"""`onionmx watch` on a private Tor network: services that nobody can reach, and what renews them."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from subprocess import run

import pytest

from .daemon import free_ports
from .relay import ONIONMX
from .tcp_server import tcp_server
from .tor_network import TorNetwork
from .watch_site import Greeter, Site


@pytest.fixture(scope="module")
def site(tor_network: TorNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    torrc = tor_network.services.folder / "torrc"
    before = torrc.read_text()
    with tcp_server(Greeter) as greeter:
        site = Site(tor_network, tmp_path_factory.mktemp("watch"), greeter)
        for onion in (*site.watched, site.unwatched):
            tor_network.client.wait_until_reachable(onion)
        yield site
    tor_network.services.stop()
    torrc.write_text(before)
    tor_network.services.start()
    tor_network.services.wait_until_bootstrapped()


def seconds_until(what: str, since: float) -> None:
    """Tell in the output of the test; docs/watch.md has the figures."""
    sys.stdout.write(f"{what} after {time.monotonic() - since:.1f} s\n")


def test_descriptor_that_leads_nowhere_is_replaced_with_it_and_not_without(site: Site) -> None:
    site.configure(drop_guards=True)
    with site.watch() as watch:
        watch.wait_for_times(" reachable: 220 mx.example.org ESMTP", 2)
        code, found = site.once()
        assert code == 0
        assert {service["onion"] for service in found} == {*site.watched}
        start = time.monotonic()
        site.mislead()
        watch.wait_for_times(" is renewed", 2)
        seconds_until("both services renewed", start)
        watch.wait_for_times(" reachable: 220 mx.example.org ESMTP", 4)
        seconds_until("both reachable for the watch", start)
        for onion in site.watched:
            site.network.client.wait_until_reachable(onion)
        seconds_until("both reachable for others", start)
        # It was cut off at the same moment, and nobody renews it.
        assert not site.is_reached_by_others(site.unwatched, 20.0)
        seconds_until("the one that is not watched: still not reachable", start)
        metrics = site.metrics()
        assert metrics["onionmx_watch_renewals_totaldone"] == 2
        assert metrics["onionmx_watch_renewals_totalfailed"] == 0
        assert metrics["onionmx_watch_guards_dropped_total"] == 1
        log = watch.log_text()
    assert log.index("DROPGUARDS") < log.index("NEWNYM")
    assert log.count("DROPGUARDS") == 1


def test_mta_that_is_down_is_no_failure_of_the_onion(site: Site) -> None:
    site.configure()
    (port,) = free_ports(1)
    directory = site.tor.folder / "of-no-mta"
    with site.tor.controller() as controller:
        options = controller.msg("GETCONF HiddenServiceOptions").content()
        before = " ".join(f'{key}="{value}"' for key, value in (line[2].split("=", 1) for line in options))
        added = f'HiddenServiceDir="{directory}" HiddenServicePort="25 127.0.0.2:{port}"'
        assert controller.msg(f"SETCONF {before} {added}").is_ok()
        onion = (directory / "hostname").read_text().strip()
        with site.watch() as watch:
            watch.wait_for_times(f"{onion} reachable: the onion service answers, but not the MTA behind it", 1)
        assert controller.msg(f"SETCONF {before}").is_ok()


def test_could_not_tell_renews_nothing(site: Site) -> None:
    site.configure(failing_for=0.1, renewal_pause=0, publish_pause=0, circuits_delay=0)
    unknown = "onionmx_watch_probes_totalcould_not_tell"
    with site.watch() as watch:
        watch.wait_for_times(f"{site.watched[0]} reachable", 1)
        with site.tor.controller() as controller:
            controller.set_conf("DisableNetwork", "1")
        watch.wait_for_times(f"{site.watched[0]} could not tell", 1)
        offline = site.metrics()[unknown]
        watch.wait_for_change(site, unknown, offline + 2)
        assert site.once()[0] == 75

        site.tor.stop()
        watch.wait_for_times("could not tell whether the onion service is reachable: tor's control port", 1)
        round_ = "onionmx_watch_last_round_timestamp_seconds"
        for _ in range(3):
            watch.wait_for_change(site, round_, site.metrics()[round_])
        assert watch.log_text().count("does not answer (Connection refused)") == 1  # once, and not each round
        assert site.once()[0] == 75
        assert "gives it up" not in watch.log_text()
        assert site.metrics()["onionmx_watch_renewals_totaldone"] == 0

        site.configure()  # while tor starts, nobody has the descriptor
        watch.signal(signal.SIGHUP)
        watch.wait_for_log("configuration reloaded")
        site.tor.start()
        watch.wait_for_times(f"{site.watched[0]} reachable", 2)
        state = json.loads((site.folder / "watch").read_text())
        assert (state["trouble"], state["services"][0]["reach"]) == ("", "reachable")


def test_watch_that_was_killed_half_way_brings_the_service_back(site: Site) -> None:
    site.configure()
    onion = site.watched[0]
    with site.tor.controller() as controller:
        lines = [line for line in controller.msg("GETCONF HiddenServiceOptions").content() if "=" in line[2]]
        controller.msg("SETCONF HiddenServiceDir")
    options = [line[2].split("=", 1) for line in lines]
    state = json.loads((site.folder / "watch").read_text())
    (site.folder / "watch").write_text(json.dumps(state | {"away": {"onion": onion, "options": options}}))
    with site.watch() as watch:
        watch.wait_for_times(f"{onion} was given up and not taken back: tor has it again", 1)
        watch.wait_for_times(f"{onion} reachable", 1)
    assert json.loads((site.folder / "watch").read_text())["away"] is None


def test_wrong_usage_and_settings(site: Site) -> None:
    assert run([ONIONMX, "watch", "--json"], check=False, capture_output=True).returncode == 64
    site.configure(interval=0)
    done = run([ONIONMX, "watch", "--config", site.configuration], check=False, capture_output=True, text=True)
    assert done.returncode == 78
    assert "watch.interval" in done.stderr
