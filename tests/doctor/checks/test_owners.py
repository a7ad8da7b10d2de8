"""Whose the ports are. As root, the tests play the local user who listens on one."""

import asyncio
import os
import socket
from pathlib import Path

import msgspec
import pytest

from onionmx.config import Configuration, TorSection
from onionmx.doctor.checks import owners
from onionmx.doctor.checks.owners import Place, judge_owners, places
from onionmx.doctor.finding import Severity
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import run_checks
from tests.net.test_owner import OWN, STRANGER, bound


@pytest.mark.parametrize("is_udp", [False, True])
def test_port_of_a_stranger(is_udp: bool) -> None:  # noqa: FBT001 -- pytest gives it
    if OWN != 0:
        return  # only root can become somebody else
    with bound(STRANGER, is_udp=is_udp) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        (found,) = judge_owners([Place("tor.socks", where, ("no-such-user",), is_udp=is_udp)])
        assert found.severity is Severity.PROBLEM
        assert found.seen == f"tor.socks {where}: nobody"
        assert "ss -ulnpe" in found.fix if is_udp else "ss -tlnpe" in found.fix
        (found,) = judge_owners([Place("tor.socks", where, (str(STRANGER),), is_udp=is_udp)])
        assert found.severity is Severity.OK


def test_port_of_a_stranger_by_the_name_of_this_host() -> None:
    if OWN != 0:
        return
    with bound(STRANGER) as server:
        port = server.getsockname()[1]
        configuration = Configuration(tor=TorSection(socks=f"localhost:{port}", user="no-such-user"))
        socks = [place for place in places(configuration) if place.setting == "tor.socks"]
        assert f"127.0.0.1:{port}" in [place.where for place in socks]
        assert Severity.PROBLEM in [found.severity for found in judge_owners(socks)]
    lost = Configuration(tor=TorSection(socks="nosuch.invalid:9050"))
    assert not [place for place in places(lost) if place.setting == "tor.socks"]


def test_port_of_a_unit() -> None:
    if OWN != 0:
        return
    with bound(61184) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        (found,) = judge_owners([Place("relay.smtp_listen", where, ("onionmx-relay",), is_dynamic=True)])
        assert found.severity is Severity.OK
        (found,) = judge_owners([Place("tor.socks", where, ("debian-tor",))])
        assert found.seen == f"tor.socks {where}: user 61184"


def test_what_is_sound(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = f"127.0.0.1:{server.getsockname()[1]}"
        (found,) = judge_owners(
            [
                Place("tor.socks", taken, ()),
                Place("tor.dnsport", "127.0.0.1:530", (), is_udp=True),
                Place("tor.control", f"unix:{tmp_path}/control", ()),
            ]
        )
    assert found.severity is Severity.OK
    assert f"{taken} " in found.seen
    assert "127.0.0.1:530 that only root can give" in found.seen
    assert "use unix sockets or ports below 1024" in found.seen


def test_socket_in_a_folder_of_all(tmp_path: Path) -> None:
    place = tmp_path / "all"
    place.mkdir()
    place.chmod(0o777)
    (found,) = judge_owners([Place("tor.control", f"unix:{place}/control", ())])
    assert found.severity is Severity.PROBLEM
    (found,) = judge_owners([Place("tor.control", f"unix:{tmp_path}/none/control", ())])
    assert found.severity is Severity.NOT_CHECKED


def test_places_of_the_configuration() -> None:
    tor = TorSection(socks="192.0.2.1:9050", control="unix:/run/tor/control")
    configuration = msgspec.structs.replace(Configuration(), tor=tor)
    settings = [place.setting for place in places(configuration)]
    assert settings[:2] == ["tor.dnsport", "tor.control"]
    assert {"relay.smtp_listen", "relay.lmtp_listen", "serve.socketmap_listen", "serve.http_listen"} <= set(settings)


def test_check_as_a_whole(tmp_path: Path) -> None:
    tor = TorSection(control=f"unix:{tmp_path}/control")
    machine = Machine(msgspec.structs.replace(Configuration(), tor=tor))
    findings = asyncio.run(run_checks([owners.CHECK], machine, 120.0))
    assert {finding.check for finding in findings} == {"owners"}
    assert os.geteuid() == OWN
