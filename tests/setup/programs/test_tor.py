"""torrc: which ports are used, and what is added."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import ConfigurationError
from onionmx.setup.programs import tor
from onionmx.tor.service.torrc import Forward
from tests.e2e.programs import UNPACKED

DEFAULTS = (UNPACKED / "usr/share/tor/tor-service-defaults-torrc").read_text()
FORWARD = Forward(25, "127.0.0.2", 25)
DIRECTORY = "/var/lib/tor/onion-mx"


def ports(
    torrc: str, defaults: str = DEFAULTS, *, virtual: bool = False, receiving: Forward | None = None
) -> tor.TorPorts:
    return tor.ports(torrc, defaults, virtual_addresses=virtual, receiving=receiving, directory=DIRECTORY)


def test_debians_ports_have_neither_flag_and_stay() -> None:
    found = ports("")
    assert found.client_lines == (
        "+SocksPort unix:/run/tor/onionmx.sock WorldWritable OnionTrafficOnly ExtendedErrors\n"
    )
    assert found.relay_socks == tor.SOCKET
    assert found.service_lines == found.exim_socks == found.dnsport == ""


def test_port_that_tor_opens_by_itself_stays() -> None:
    assert ports("", "").client_lines.startswith("SocksPort 9050\n+SocksPort unix:")


@pytest.mark.parametrize(
    ("line", "socks"),
    [
        ("SocksPort 9150 OnionTrafficOnly ExtendedErrors", "127.0.0.1:9150"),
        ("+SocksPort 127.0.0.1:9151 ExtendedErrors onionTrafficOnly", "127.0.0.1:9151"),
        ("SocksPort unix:/run/tor/Mine WorldWritable OnionTrafficOnly ExtendedErrors", "unix:/run/tor/Mine"),
    ],
)
def test_port_that_fits_is_used(line: str, socks: str) -> None:
    found = ports(f"{line}\n")
    assert (found.client, found.relay_socks) == ((), socks)


@pytest.mark.parametrize(
    "line",
    [
        "SocksPort 9150 OnionTrafficOnly",
        "SocksPort 192.0.2.1:9150 OnionTrafficOnly ExtendedErrors",
        "SocksPort unix:/run/tor/mine GroupWritable OnionTrafficOnly ExtendedErrors",
        "SocksPort auto OnionTrafficOnly ExtendedErrors",
        "SocksPort 0",
    ],
)
def test_port_that_does_not_fit_is_not_used(line: str) -> None:
    assert ports(f"{line}\n").relay_socks == tor.SOCKET


def test_exim_by_itself_gets_a_port_and_virtual_addresses() -> None:
    found = ports("", virtual=True)
    assert found.client_lines.splitlines()[1:] == [
        "+SocksPort 127.0.0.1:905 OnionTrafficOnly",
        "+DNSPort 127.0.0.1:530",
        "AutomapHostsOnResolve 1",
    ]
    assert (found.exim_socks, found.dnsport) == ("127.0.0.1:905", "127.0.0.1:530")
    there = "SocksPort 9150 OnionTrafficOnly\nDNSPort 5353\nAutomapHostsOnResolve 1\n"
    found = ports(there, virtual=True)
    assert (found.exim_socks, found.dnsport) == ("127.0.0.1:9150", "127.0.0.1:5353")


def test_service_is_added_or_used() -> None:
    found = ports("", receiving=FORWARD)
    assert found.service_lines == (
        f"HiddenServiceDir {DIRECTORY}\nHiddenServicePoWDefensesEnabled 1\nHiddenServicePort 25 127.0.0.2:25\n"
    )
    found = ports("HiddenServiceDir /srv/mx\nHiddenServicePort 25 127.0.0.25:2525\n", receiving=FORWARD)
    assert (found.service, found.directory, str(found.forward)) == ((), "/srv/mx", "25 127.0.0.25:2525")


@pytest.mark.parametrize("target", ["127.0.0.1:25", "", "0.0.0.0:25", "unix:/run/x", "mx.example:25"])
def test_service_that_would_make_an_open_relay_is_refused(target: str) -> None:
    with pytest.raises(ConfigurationError, match="HiddenServicePort 25"):
        ports(f"HiddenServiceDir /srv/mx\nHiddenServicePort 25 {target}\n", receiving=FORWARD)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["SocksPort", "+SocksPort", "DNSPort", "HiddenServiceDir", "HiddenServicePort", "#"]),
            st.text(alphabet='unix:/ 9052.1"\\OnionTrafficOnly', max_size=30),
        ).map(" ".join)
    )
)
def test_any_torrc_is_read_or_refused(lines: list[str]) -> None:
    try:
        found = ports("\n".join(lines), virtual=True, receiving=FORWARD)
    except ConfigurationError:
        return
    assert found.relay_socks
    assert found.directory


def test_leave_for_the_socket_is_given_once() -> None:
    text = tor.apparmor("", tor.SOCKET)
    assert "/{,var/}run/tor/onionmx.sock w,\n" in text
    assert tor.apparmor(text, tor.SOCKET) == text
