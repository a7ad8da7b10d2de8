"""What is said of services and of the client port, without a tor."""

from pathlib import Path

import pytest

from onionmx.errors import UsageError
from onionmx.tor.service.running import OnionService, read_hostname, read_record
from onionmx.tor.service.torrc import Forward, format_block
from onionmx.tor.service.wanted import POW, WantedService, is_trusted_address
from onionmx.tor.socks_port import leads_to, missing_flags
from tests.onions import V2_ONION, make_onion

A = make_onion("a")
SMTP = Forward(25, "127.0.0.2", 25)


@pytest.mark.parametrize(
    ("host", "trusted"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),  # noqa: S104 -- leads to 127.0.0.1
        ("::", True),
        ("127.0.0.2", False),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
    ],
)
def test_addresses_that_mtas_trust(host: str, *, trusted: bool) -> None:
    assert is_trusted_address(host) is trusted


@pytest.mark.parametrize("directory", ["onion-mx", "/var/lib/tor/a\nb", ""])
def test_folder_that_torrc_cannot_name(directory: str) -> None:
    with pytest.raises(UsageError, match="expected an absolute path"):
        WantedService(Path(directory), SMTP).block()


def test_record_of_a_service_over_the_control_port(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    wanted = WantedService(tmp_path, SMTP, max_streams=5)
    (tmp_path / "over-control").write_text(format_block(wanted.block()))
    (tmp_path / "hostname").write_text(f"{A}\n")
    assert read_record(tmp_path) == OnionService(A, (SMTP,), None, {POW: "1", "HiddenServiceMaxStreams": "5"})
    (tmp_path / "over-control").write_text("nothing\n")
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("content", ["", V2_ONION, make_onion("a", spoil_checksum=True), "\x1b[2J", "\xff"])
def test_hostname_that_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "hostname").write_text(content)
    onion, problem = read_hostname(tmp_path)
    assert onion is None
    assert str(tmp_path) in problem
    assert problem.isprintable()


def test_only_the_named_port_is_carried() -> None:
    service = OnionService(A, (SMTP,), "/a")
    assert service.carries(25)
    assert not service.carries(80)


@pytest.mark.parametrize(
    ("line", "leads", "missing"),
    [
        ("9050", True, ["OnionTrafficOnly", "ExtendedErrors"]),
        ("127.0.0.1:9050 onionTRAFFIConly", True, ["ExtendedErrors"]),
        ("9050 ExtendedErrors IsolateDestAddr OnionTrafficOnly", True, []),
        ("127.0.0.1:9150 ExtendedErrors", False, ["OnionTrafficOnly"]),
        ("unix:/run/tor/socks WorldWritable", False, ["OnionTrafficOnly", "ExtendedErrors"]),
        ("auto", False, ["OnionTrafficOnly", "ExtendedErrors"]),
        ("0", False, ["OnionTrafficOnly", "ExtendedErrors"]),
    ],
)
def test_flags_of_the_client_port(line: str, missing: list[str], *, leads: bool) -> None:
    assert leads_to(line, ("127.0.0.1", 9050)) is leads
    assert missing_flags(line) == missing


@pytest.mark.parametrize(
    ("line", "leads"),
    [
        ("unix:/run/tor/onionmx.sock GroupWritable OnionTrafficOnly", True),
        ('unix:"/run/tor/onionmx.sock" GroupWritable', True),
        ("unix:/run/tor/socks", False),
        ("unix:onionmx.sock", False),
        ("9050", False),
        ("auto", False),
    ],
)
def test_client_port_that_is_a_unix_socket(line: str, *, leads: bool) -> None:
    assert leads_to(line, Path("/run/tor/onionmx.sock")) is leads
