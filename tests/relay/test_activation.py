"""The relay as systemd runs it: sockets that outlive it, and news from its main process alone."""

import smtplib
import socket
import struct
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import RelaySection
from onionmx.errors import ConfigurationError
from onionmx.relay.run import _listen
from onionmx.smtp.server import take_over
from tests.relay.test_run import running
from tests.serve.daemon import ActivatedDaemon

_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid (unix(7))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_systemd_hears_from_the_main_process_alone(tmp_path: Path, workers: str) -> None:
    """Others are not listened to with NotifyAccess=main."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        notified.settimeout(120)
        with running(tmp_path, workers=workers) as process:
            message, [(_, _, sender)], _, _ = notified.recvmsg(100, socket.CMSG_SPACE(_CREDENTIALS.size))
            assert message == b"READY=1"
            assert _CREDENTIALS.unpack(sender)[0] == process.daemon.pid


def test_connection_made_while_it_restarts_is_served_and_nobody_else_can_have_the_port(tmp_path: Path) -> None:
    with ExitStack() as stack:
        ours = {"smtp": socket.create_server(("127.0.0.1", 0)), "lmtp": socket.create_server(("127.0.0.1", 0))}
        for bound in ours.values():
            stack.enter_context(bound)
        smtp, lmtp = (bound.getsockname() for bound in ours.values())
        (tmp_path / "pins").touch()
        configuration = tmp_path / "onionmx.toml"
        configuration.write_text(
            f'[sync]\npins = "{tmp_path}/pins"\n[map]\npath = "{tmp_path}/map.cdb"\n'
            f'[relay]\nhostname = "mx.sender.test"\ncontrol = "{tmp_path}/relay.sock"\n'
            f'smtp_listen = ["{smtp[0]}:{smtp[1]}"]\nlmtp_listen = ["{lmtp[0]}:{lmtp[1]}"]\n'
        )
        program = Path(sys.executable).with_name("onionmx")
        command: list[str | Path] = [program, "relay", "--config", configuration]
        with ActivatedDaemon(ours, command, tmp_path, {}) as daemon:
            daemon.wait_for_log("relay ready")
            with smtplib.SMTP(*smtp) as session:
                assert b"LMTP" not in session.ehlo()[1]
            with smtplib.LMTP(*lmtp) as session:
                assert session.ehlo()[0] == 250
        with pytest.raises(OSError, match="in use"), closing(socket.create_server(smtp)):
            pass
        waiting = socket.create_connection(smtp, timeout=120)
        with closing(waiting), ActivatedDaemon(ours, command, tmp_path, {}):
            assert waiting.recv(100).startswith(b"220 relay.mx.sender.test")


def test_socket_that_nobody_knows_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match="expected smtp or lmtp as FileDescriptorName="):
            take_over([("onionmx-relay.socket", bound)], ["127.0.0.1:10025"], [])
        assert take_over([("x", bound)], [], [address])[0].is_lmtp
        assert not take_over([("x", bound)], [address], [])[0].is_lmtp
        assert not take_over([("smtp", bound)], [], [address])[0].is_lmtp


def test_address_that_the_socket_unit_does_not_have_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would know why the MTA is refused there."""
    with socket.create_server(("127.0.0.1", 0)) as bound, socket.create_server(("127.0.0.1", 0)) as lmtp:
        here, there = (f"127.0.0.1:{one.getsockname()[1]}" for one in (bound, lmtp))
        settings = RelaySection(smtp_listen=(here, f"unix:{tmp_path}/smtp"), lmtp_listen=(there,))
        assert len(_listen(settings, [("a", bound), ("b", lmtp)])) == 2
    assert f"nobody listens on unix:{tmp_path}/smtp: systemd has handed over {min(here, there)}" in caplog.text
    assert caplog.text.count("nobody listens on") == 1


@given(st.text(), st.lists(st.text()), st.lists(st.text()))
def test_whatever_the_name(name: str, smtp: list[str], lmtp: list[str]) -> None:
    with socket.socket() as bound:
        try:
            (listener,) = take_over([(name, bound)], smtp, lmtp)
        except ConfigurationError:
            assert name not in {"smtp", "lmtp"}
        else:
            assert listener.is_lmtp == (name == "lmtp") or "0.0.0.0:0" in {*smtp, *lmtp}
