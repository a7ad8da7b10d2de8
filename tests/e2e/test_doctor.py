"""The doctor on a sound onion MX, and on the same with one fault at a time.

    tor (SOCKS, DNSPort, control, onion service) ── private Tor network
     │ hands over to 127.0.0.2
    Exim ── receiver.example, whose zone Knot DNS has signed; Unbound validates
    onionmx relay, onionmx serve, a map

The MTA is right here; `test_doctor_receivers.py` has those that are not.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mapfile.maps import A, make_map

from .conftest import skip_without
from .doctor_site import UNSIGNED, WITHOUT, WRONG, DoctorSite, Torrc
from .receiving import DOMAIN, Receiver
from .tor_network import TorNetwork

LIMIT = 60.0
"""Seconds that a run may take on a sound machine with circuits that are warm."""
PROGRAMS = ("tor", "exim4", "knotd", "keymgr", "unbound", "setpriv")


@pytest.fixture(scope="module")
def site(tor_network: TorNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoctorSite]:
    skip_without(*PROGRAMS)
    folder = tmp_path_factory.mktemp("doctor")
    for above in (folder, folder.parent):
        above.chmod(0o755)  # for an Exim that runs as another user
    with DoctorSite(tor_network, folder / "site") as site:
        yield site


@pytest.fixture(scope="module")
def mta(site: DoctorSite) -> Iterator[Receiver]:
    with site.serving("exim") as mta:
        yield mta


@pytest.fixture
def reconfigured(site: DoctorSite, mta: Receiver) -> Iterator[Callable[[Torrc], None]]:
    """Give tor another torrc for one test."""
    yield lambda torrc: site.tor.reconfigure(torrc, mta.forward)
    site.tor.reconfigure(Torrc(), mta.forward)


@pytest.mark.usefixtures("mta")
def test_sound_machine(site: DoctorSite, record_property: Callable[[str, object], None]) -> None:
    site.doctor()
    report = site.doctor()
    assert {one["severity"] for one in report.findings} == {"ok"}, str(report)
    assert report.exit_code == 0
    record_property("seconds", report.seconds)
    assert report.seconds < LIMIT
    assert not site.doctor("--quiet").findings


@pytest.mark.parametrize(
    ("torrc", "fault", "fix"),
    [
        (Torrc(automap=""), "automap", "torrc: AutomapHostsOnResolve 1"),
        (Torrc(dnsport=""), "dnsport", "torrc: DNSPort 127.0.0.1:{dnsport}"),
        (Torrc(more="DNSPort 0.0.0.0:{dnsport}", dnsport=""), "listeners", "torrc: DNSPort 127.0.0.1:{dnsport}"),
        (Torrc(more="TransPort 0.0.0.0:{nowhere}"), "listeners", "torrc: TransPort 127.0.0.1:{nowhere}"),
        (Torrc(long_lived=""), "long-lived-ports", "torrc: LongLivedPorts 21,22,706"),
        (Torrc(control="ControlPort 0"), "control", "torrc: ControlSocket"),
    ],
    ids=["no-automap", "no-dnsport", "dnsport-open", "transport-open", "not-long-lived", "no-control"],
)
@pytest.mark.usefixtures("mta")
def test_fault_in_torrc(
    site: DoctorSite, reconfigured: Callable[[Torrc], None], torrc: Torrc, fault: str, fix: str
) -> None:
    reconfigured(torrc)
    report = site.doctor()
    assert report.faults == {fault}, str(report)
    assert fix.format(dnsport=site.tor.dnsport[1], nowhere=site.tor.nowhere[1]) in report.of(fault)[0]["fix"]
    # Without the control port the record tells where the own onion is.
    assert report.of("open-relay")[0]["severity"] == "ok"


@pytest.mark.usefixtures("mta")
def test_socks_port_without_a_flag(site: DoctorSite) -> None:
    for (host, port), fault in ((site.tor.terse_socks, "extended-errors"), (site.tor.open_socks, "onion-traffic-only")):
        report = site.doctor(tor__socks=f'"{host}:{port}"')
        assert report.faults == {fault}, str(report)
        assert f"torrc: SocksPort {host}:{port} ExtendedErrors OnionTrafficOnly" in report.of(fault)[0]["fix"]


@pytest.mark.usefixtures("mta")
def test_socks_port_that_is_a_unix_socket(site: DoctorSite) -> None:
    report = site.doctor(tor__socks=f'"unix:{site.tor.unix_socks}"')
    assert report.faults == set(), str(report)
    nowhere = site.doctor("--check", "socks", tor__socks=f'"unix:{site.tor.unix_socks}.none"')
    assert "WorldWritable ExtendedErrors OnionTrafficOnly" in nowhere.of("socks")[0]["fix"]


@pytest.mark.usefixtures("mta")
def test_socks_port_that_is_another_program(site: DoctorSite) -> None:
    host, port = site.relay.smtp
    report = site.doctor("--check", "socks", tor__socks=f'"{host}:{port}"')
    assert "socks" in report.faults
    assert f"{host}:{port} is a mail or FTP server" in report.of("socks")[0]["seen"]


@pytest.mark.usefixtures("mta")
def test_what_was_started_by_hand(site: DoctorSite) -> None:
    """As here: no unit holds it, and where the tests are root's, it is root's."""
    found = site.doctor("--check", "isolation").of("isolation")
    words = "runs as root" if os.geteuid() == 0 else "may get new privileges"
    for name in (f"tor (process {site.tor.daemon.pid}, ", "onionmx relay (process", "onionmx serve (process"):
        assert any(name in one["seen"] and one["seen"].endswith(words) for one in found), (name, found)


def test_service_on_another_port(site: DoctorSite, reconfigured: Callable[[Torrc], None]) -> None:
    reconfigured(Torrc(service="HiddenServiceDir {folder}/service\nHiddenServicePort 2525 {forward}"))
    report = site.doctor(doctor__timeout="20")
    assert {"onion-service"} <= report.faults <= {"onion-service", "record"}, str(report)
    assert report.of("onion-service")[0]["fix"] == "onionmx onion create"


def test_service_that_leads_nowhere(site: DoctorSite, reconfigured: Callable[[Torrc], None]) -> None:
    nowhere = "127.0.0.2:{nowhere}"
    reconfigured(Torrc(service=f"HiddenServiceDir {{folder}}/service\nHiddenServicePort 25 {nowhere}"))
    report = site.doctor()
    assert report.faults == {"forward"}, str(report)
    assert "Connection refused" in report.of("forward")[0]["seen"]


@pytest.mark.usefixtures("mta")
def test_records_in_dns(site: DoctorSite) -> None:
    """One domain is right, and each of the others has a fault."""
    domains = f'["{DOMAIN}", "{UNSIGNED}", "{WITHOUT}", "{WRONG}"]'
    report = site.doctor(local__domains=domains)
    assert report.faults == {"record", "signed-zone"}, str(report)
    records = [(one["severity"], one["seen"].split()[0]) for one in report.of("record")]
    assert records == [("problem", WITHOUT), ("problem", WRONG), ("ok", DOMAIN), ("ok", UNSIGNED)]
    line = f"_onion-mx._tcp.{WITHOUT}. 3600 IN SRV 0 5 25 {site.tor.onion}."
    assert line in report.of("record")[0]["fix"]
    assert A in report.of("record")[1]["seen"]
    unsigned = [one["seen"] for one in report.of("signed-zone") if one["severity"] == "warning"]
    assert [seen.split(":")[0] for seen in unsigned] == [UNSIGNED]


@pytest.mark.usefixtures("mta")
def test_map_with_a_local_domain_and_relay_that_is_down(site: DoctorSite, tmp_path: Path) -> None:
    own = make_map(tmp_path / "own.cdb", {DOMAIN: ((A, 25),)})
    assert site.doctor(map__path=f'"{own}"').faults == {"local-domains"}
    site.relay.stop()
    try:
        result = '"onion:inet:{}:{}"'.format(*site.relay.lmtp)
        needed = {"map__transport_path": f'"{site.map}"', "map__transport_result": result}
        assert site.doctor(**needed).faults == {"relay"}
        assert not site.doctor().faults
    finally:
        site.relay.start()


@pytest.mark.usefixtures("mta")
def test_resolver_that_is_down(site: DoctorSite) -> None:
    site.dns.stop_resolver()
    try:
        report = site.doctor(dns__timeout="3.0")
    finally:
        site.dns.start_resolver()
    assert not report.faults, str(report)
    assert report.exit_code == 75
    unknown = {one["check"] for one in report.findings if one["severity"] == "not checked"}
    assert unknown == {"record", "signed-zone", "resolver"}


@pytest.mark.usefixtures("mta")
def test_tor_that_is_down(site: DoctorSite) -> None:
    site.tor.stop()
    try:
        report = site.doctor()
    finally:
        site.tor.start()
        site.tor.wait_until_bootstrapped()
    assert report.faults == {"tor"}, str(report)
    waiting = {one["check"] for one in report.findings if one["cause"] == "tor"}
    assert waiting >= {"control", "socks", "dnsport", "onion-service", "open-relay"}
    assert report.exit_code == 1
