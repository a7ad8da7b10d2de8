"""From a domain's SRV record to a message delivered over Tor by Exim."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.net.stranger import folder_for_others

from .site import DOMAIN, SENDER, UNSIGNED, WITHOUT, Site
from .tor_network import TorNetwork

MESSAGE = (
    f"From: <me@{SENDER}>\r\nTo: <user@{DOMAIN}>\r\nSubject: over Tor\r\n"
    f"Date: Sun, 22 Nov 2026 02:16:00 +0000\r\nMessage-ID: <1@{SENDER}>\r\n\r\nHello\r\n"
).encode()


@pytest.fixture(scope="module")
def site(tor_network: TorNetwork) -> Iterator[Site]:
    with folder_for_others() as folder, Site(tor_network, folder) as site:
        assert site.onionmx("sync").returncode == 0
        yield site


def test_sync_found_the_records(site: Site) -> None:
    result = site.onionmx("map", "list", "--json")
    targets = [{"onion": site.onion, "port": 25}]
    assert json.loads(result.stdout) == [
        {"domain": DOMAIN, "targets": targets},
        {"domain": UNSIGNED, "targets": targets},
    ]


def test_lookup_tells_signed_from_unsigned(site: Site) -> None:
    result = site.onionmx("lookup", "--live", "--json", DOMAIN, UNSIGNED, WITHOUT)
    assert result.returncode == 1
    signed, unsigned, without = json.loads(result.stdout)
    assert (signed["trust"], unsigned["trust"]) == ("dnssec", "unsigned")
    assert 0 < signed["ttl"] <= 3600
    assert without["answer"] == "no route"


def test_no_address_was_asked_for(site: Site) -> None:
    # MX and TXT: what the domain of the unsigned record demands of its MX.
    assert {question.type for question in site.dns.queries()} == {"SRV", "MX", "TXT"}
    assert not [question for question in site.dns.queries() if question.name.endswith("onion")]


def test_message_arrives_over_tor(site: Site) -> None:
    site.sender.submit(f"me@{SENDER}", [f"user@{DOMAIN}"], MESSAGE)
    (stored,) = site.receiver.wait_for_delivered(1)
    assert stored.endswith(MESSAGE)
    address = site.route(DOMAIN).stdout.strip()
    assert re.fullmatch(r"127\.(19[2-9]|2\d\d)\.\d+\.\d+", address)
    site.sender.wait_for_log(rf"=> user@{DOMAIN} R=onionmx T=onionmx_smtp H={address}")
    assert site.sender.sent_over_clearnet() == []


def test_domain_without_a_record_takes_the_next_router(site: Site) -> None:
    assert "router = clearnet" in site.sender.route_test(f"user@{WITHOUT}")
    assert site.route(WITHOUT).returncode == 1


def test_missing_map_defers(site: Site) -> None:
    aside = site.map.rename(site.map.with_suffix(".aside"))
    try:
        for domain in (DOMAIN, WITHOUT):
            output = site.sender.route_test(f"user@{domain}")
            assert "cannot be resolved at this time" in output
            assert f"map {site.map} does not exist" in output
    finally:
        aside.rename(site.map)


def test_tor_stopped_defers_and_the_log_says_why(site: Site) -> None:
    site.tor.client.stop()
    try:
        site.sender.submit(f"me@{SENDER}", [f"user@{DOMAIN}"], MESSAGE)
        site.sender.wait_for_log(rf"== user@{DOMAIN} .* defer .*exit code 75: .*is tor running\?")
        assert site.sender.sent_over_clearnet() == []
        assert len(site.receiver.delivered()) == 1
    finally:
        site.tor.client.start()
    site.tor.client.wait_until_reachable(site.onion)
    site.sender.run_queue()
    assert len(site.receiver.wait_for_delivered(2)) == 2
    assert site.sender.queue() == []
