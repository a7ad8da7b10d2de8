"""The doctor and MTAs behind the onion service: nothing to say of the right ones, the fault of each wrong one."""

from collections.abc import Iterator

import pytest

from .conftest import skip_without
from .doctor_site import DoctorSite
from .postfix import Postfix
from .receiving import CIRCUITS, FAULTS, RIGHT, WRONG
from .tor_network import TorNetwork

NAMED = {
    "trusts-loopback": {"open-relay"},
    "forward-to-localhost": {"forward", "open-relay"},
    "percent-hack": {"open-relay"},
    "auth": {"rights"},
    "vrfy": {"rights"},
    "xclient": {"rights"},
}
"""By fault, the checks that name it. An MTA that trusts its own host relays for a service that leads there."""


@pytest.fixture(scope="module")
def site(tor_network: TorNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoctorSite]:
    skip_without("tor", "exim4", "knotd", "keymgr", "unbound", "setpriv", "postconf")
    folder = tmp_path_factory.mktemp("mta")
    for above in (folder, folder.parent):
        above.chmod(0o755)
    with DoctorSite(tor_network, folder / "site") as site:
        yield site


def test_every_fault_is_looked_for() -> None:
    assert set(NAMED) == set(FAULTS)


@pytest.mark.parametrize("name", [*RIGHT, *CIRCUITS])
def test_right_receiver(site: DoctorSite, name: str) -> None:
    with site.serving(name):
        report = site.doctor()
    # Where circuits are told to another MTA than Postfix there is nobody to ask how it counts them.
    unknown = {"circuit-limits"} if name == "exim-circuits" else set()
    assert {one["check"] for one in report.findings if one["severity"] != "ok"} == unknown, str(report)
    assert report.exit_code == 0


def test_postfix_that_counts_all_circuits_as_one(site: DoctorSite) -> None:
    """Since 3.10 that is its default."""
    with site.serving("postfix-circuits") as mta:
        assert isinstance(mta.mta, Postfix)
        version = mta.mta.run("postconf", "-h", "mail_version")
        counts_networks = tuple(map(int, version.split(".")[:2])) >= (3, 10)
        master = mta.mta.configuration / "master.cf"
        text = master.read_text()
        master.write_text(text.replace("  -o smtpd_client_ipv6_prefix_length=128\n", ""))
        assert master.read_text() != text
        report = site.doctor()
    assert report.faults == ({"circuit-limits"} if counts_networks else set()), str(report)
    [finding] = report.of("circuit-limits")
    assert f"Postfix {version.strip()}" in finding["seen"]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_receiver(site: DoctorSite, name: str) -> None:
    with site.serving(name) as mta:
        report = site.doctor()
        assert mta.fault is not None
        assert report.faults == NAMED[mta.fault], str(report)
    program = name.partition("-")[0]
    for one in report.findings:
        if one["check"] in {"open-relay", "rights"} and one["fix"]:
            # Postfix alone knows XCLIENT.
            assert ("exim" in one["fix"]) is (program == "exim")
            assert ".cf" in one["fix"] or program == "exim"
    assert not mta.mta.delivered()
